#!/usr/bin/env bash
# Renders the PNG, ICO and ICNS files beside their SVG sources. Needs rsvg-convert (librsvg2-bin), ImageMagick and python3.
set -euo pipefail
cd "$(dirname "$0")"
# Twice the 24 pixels of a bar, and for the menu bar of macOS twice its 18 points. macOS draws such a template in the colour
# of the bar, by how opaque it is, so that the white halo would make it fuzzy there.
for name in idle busy warn down; do
    rsvg-convert -w 48 -h 48 "tray/$name.svg" -o "tray/$name@2x.png"
    sed 's/stroke="#fff" stroke-opacity=".55"/stroke="none"/g' "tray/$name.svg" |
        rsvg-convert -w 36 -h 36 -o "tray/$name-template@2x.png"
done
render() { rsvg-convert -w "$1" -h "$1" app/icon.svg -o "app/$2"; }
render 32 32x32.png
render 128 128x128.png
render 256 128x128@2x.png
render 512 icon.png
convert app/icon.png -define icon:auto-resize=256,128,64,48,32,16 app/icon.ico
# An ICNS file is a header and PNG files with four-letter names (ic07: 128 px, ic08: 256 px, ic09: 512 px).
python3 - <<'PY'
import struct
parts = [(b"ic07", "app/128x128.png"), (b"ic08", "app/128x128@2x.png"), (b"ic09", "app/icon.png")]
body = b"".join(tag + struct.pack(">I", len(data) + 8) + data for tag, data in ((t, open(p, "rb").read()) for t, p in parts))
open("app/icon.icns", "wb").write(b"icns" + struct.pack(">I", len(body) + 8) + body)
PY
