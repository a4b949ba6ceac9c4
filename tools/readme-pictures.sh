#!/usr/bin/env bash
# Takes the README's pictures from those that the last `make test` made of this build.
set -euo pipefail
cd "$(dirname "$0")/.."
to=docs/images
mkdir -p "$to"
cp artefacts/browser/answer.png "$to/panel-light.png"
cp artefacts/browser/panel-now-dark.png "$to/panel-dark.png"
convert artefacts/desktop/switch/menu.png -crop 420x310+0+0 +repage "$to/tray.png"
cp artefacts/browser/scenes-edited.png "$to/scenes.png"
cp artefacts/browser/load-with-fits.png "$to/load-with.png"
