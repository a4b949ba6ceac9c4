//! The picture in the tray: a shape for the state and, when it is wanted, bars for memory and GPU beside it.

use pilothouse_domain::tray::{BAR_STEPS, TrayBars, TrayIcon};
use tauri::image::Image;

/// Where there are bars, the shape gives up so much of its width.
const BAR_WIDTH: usize = 8;
const GAP: usize = 2;
/// Pixels of one step, and of the frame above and below it.
const STEP_HEIGHT: usize = 2;
const FRAME: usize = 2;

/// The picture of a shape, at twice the size of a bar. A Linux tray takes one file, in the size that it wants: 48 pixels are
/// sharp at 44 and 48, and come to 22 and 24 as a mean of whole pixels. macOS draws its menu bar by how opaque a picture is.
pub fn image(shape: TrayIcon, bars: TrayBars) -> Image<'static> {
    #[cfg(target_os = "macos")]
    let shape = match shape {
        TrayIcon::Idle => tauri::include_image!("../icons/tray/idle-template@2x.png"),
        TrayIcon::Busy => tauri::include_image!("../icons/tray/busy-template@2x.png"),
        TrayIcon::Attention => tauri::include_image!("../icons/tray/warn-template@2x.png"),
        TrayIcon::Down => tauri::include_image!("../icons/tray/down-template@2x.png"),
    };
    #[cfg(not(target_os = "macos"))]
    let shape = match shape {
        TrayIcon::Idle => tauri::include_image!("../icons/tray/idle@2x.png"),
        TrayIcon::Busy => tauri::include_image!("../icons/tray/busy@2x.png"),
        TrayIcon::Attention => tauri::include_image!("../icons/tray/warn@2x.png"),
        TrayIcon::Down => tauri::include_image!("../icons/tray/down@2x.png"),
    };
    let wanted: Vec<u8> = [bars.memory, bars.gpu].into_iter().flatten().collect();
    if wanted.is_empty() {
        return shape;
    }
    let (width, height) = (shape.width() as usize, shape.height() as usize);
    let picture = with_bars(shape.rgba(), width, height, &wanted);
    Image::new_owned(picture, shape.width(), shape.height())
}

/// The shape, smaller, at the left; a bar per gauge at the right, filled from below. All in RGBA, of the same size.
fn with_bars(shape: &[u8], width: usize, height: usize, bars: &[u8]) -> Vec<u8> {
    let taken = bars.len() * (BAR_WIDTH + GAP);
    let side = width.saturating_sub(taken).min(height);
    let mut picture = vec![0; width * height * 4];
    let top = (height - side) / 2;
    for y in 0..side {
        for x in 0..side {
            put(&mut picture, width, x, y + top, averaged(shape, width, height, side, x, y));
        }
    }
    let ink = strongest(shape);
    for (index, filled) in bars.iter().enumerate() {
        let left = width - taken + index * (BAR_WIDTH + GAP) + GAP;
        draw_bar(&mut picture, width, height, left, usize::from((*filled).min(BAR_STEPS)), ink);
    }
    picture
}

/// A frame of full height around the steps that are filled. Light and dark bars both show it: the frame is white and half
/// there, as the halo of the shape.
fn draw_bar(picture: &mut [u8], width: usize, height: usize, left: usize, filled: usize, ink: [u8; 4]) {
    const HALO: [u8; 4] = [255, 255, 255, 140];
    let tall = usize::from(BAR_STEPS) * STEP_HEIGHT + 2 * FRAME;
    let top = height.saturating_sub(tall) / 2;
    for y in top..(top + tall).min(height) {
        for x in left..(left + BAR_WIDTH).min(width) {
            let inside = (left + FRAME..left + BAR_WIDTH - FRAME).contains(&x)
                && (top + FRAME..top + tall - FRAME).contains(&y);
            let from_below = top + tall - FRAME - 1;
            let is_filled = inside && from_below.saturating_sub(y) < filled * STEP_HEIGHT;
            let edge = !inside && (x == left || x + 1 == left + BAR_WIDTH || y == top || y + 1 == top + tall);
            let pixel = match (is_filled, inside, edge) {
                (true, ..) => ink,
                (false, true, _) => [ink[0], ink[1], ink[2], 40],
                (false, false, true) => HALO,
                (false, false, false) => [ink[0], ink[1], ink[2], 200],
            };
            put(picture, width, x, y, pixel);
        }
    }
}

fn put(picture: &mut [u8], width: usize, x: usize, y: usize, pixel: [u8; 4]) {
    let at = (y * width + x) * 4;
    if let Some(place) = picture.get_mut(at..at + 4) {
        place.copy_from_slice(&pixel);
    }
}

/// The mean of the pixels that become one, weighted by how much they are there.
fn averaged(shape: &[u8], width: usize, height: usize, side: usize, x: usize, y: usize) -> [u8; 4] {
    let span = |at: usize, of: usize| at * of / side..((at + 1) * of).div_ceil(side).max(at * of / side + 1);
    let (mut sums, mut alpha, mut count) = ([0u32; 3], 0u32, 0u32);
    for from_y in span(y, height) {
        for from_x in span(x, width) {
            let at = (from_y * width + from_x) * 4;
            let Some([red, green, blue, there]) = shape.get(at..at + 4) else { continue };
            for (sum, part) in sums.iter_mut().zip([red, green, blue]) {
                *sum += u32::from(*part) * u32::from(*there);
            }
            alpha += u32::from(*there);
            count += 1;
        }
    }
    if alpha == 0 {
        return [0; 4];
    }
    let [red, green, blue] = sums.map(|sum| (sum / alpha) as u8);
    [red, green, blue, (alpha / count.max(1)) as u8]
}

/// The colour that the shape is drawn in.
fn strongest(shape: &[u8]) -> [u8; 4] {
    let darkest = shape
        .as_chunks::<4>()
        .0
        .iter()
        .filter(|pixel| pixel[3] > 200)
        .min_by_key(|pixel| pixel[..3].iter().map(|part| u32::from(*part)).sum::<u32>());
    darkest.map_or([0, 0, 0, 255], |pixel| [pixel[0], pixel[1], pixel[2], 255])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(memory: Option<u8>, gpu: Option<u8>) -> TrayBars {
        TrayBars { memory, gpu }
    }

    /// Pixels of full ink in a column.
    fn inked(picture: &Image<'_>, x: usize) -> usize {
        let ink = strongest(image(TrayIcon::Idle, bars(None, None)).rgba());
        let width = picture.width() as usize;
        let rows = picture.rgba().chunks(width * 4);
        rows.filter(|row| row[x * 4..x * 4 + 4] == ink).count()
    }

    #[test]
    fn without_a_gauge_the_shape_stays_as_it_is() {
        let plain = tauri::include_image!("../icons/tray/idle@2x.png");
        assert_eq!(image(TrayIcon::Idle, bars(None, None)).rgba(), plain.rgba());
    }

    #[test]
    fn a_bar_is_filled_from_below_by_its_steps() {
        let inside = |gauge: TrayBars| {
            let picture = image(TrayIcon::Idle, gauge);
            inked(&picture, picture.width() as usize - BAR_WIDTH + FRAME + 1)
        };
        assert_eq!(inside(bars(Some(0), None)), 0, "nothing used is an empty frame");
        assert_eq!(inside(bars(Some(8), None)), 8 * STEP_HEIGHT);
        assert_eq!(inside(bars(Some(16), None)), 16 * STEP_HEIGHT);
        assert_eq!(inside(bars(Some(3), Some(5))), 5 * STEP_HEIGHT, "the GPU stands at the right");
    }

    #[test]
    fn every_shape_keeps_its_size_and_still_differs_with_bars() {
        let shapes = [TrayIcon::Idle, TrayIcon::Busy, TrayIcon::Attention, TrayIcon::Down];
        let pictures: Vec<Vec<u8>> =
            shapes.iter().map(|shape| image(*shape, bars(Some(4), Some(9))).rgba().to_vec()).collect();
        for (index, picture) in pictures.iter().enumerate() {
            assert_eq!(picture.len(), image(shapes[index], bars(None, None)).rgba().len());
            assert!(!pictures[..index].contains(picture));
        }
    }

    const SHAPES: [TrayIcon; 4] = [TrayIcon::Idle, TrayIcon::Busy, TrayIcon::Attention, TrayIcon::Down];
    /// Of the panels of Adwaita, light and dark, as luminance from 0 to 255.
    const PANELS: [f64; 2] = [245.0, 43.0];

    /// What stands out from a panel when a host shows the picture at `side` pixels: for each of them, whether it is at least
    /// a fifth of the whole range lighter or darker than the panel. Colours do not count.
    fn seen(picture: &Image<'_>, side: usize, panel: f64) -> Vec<bool> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let place = (0..side * side).map(|at| (at % side, at / side));
        let pixels = place.map(|(x, y)| averaged(picture.rgba(), width, height, side, x, y));
        let differs = |[red, green, blue, there]: [u8; 4]| {
            let luminance = 0.2126 * f64::from(red) + 0.7152 * f64::from(green) + 0.0722 * f64::from(blue);
            (luminance - panel).abs() * f64::from(there) / 255.0 > 51.0
        };
        pixels.map(differs).collect()
    }

    #[test]
    fn every_state_has_a_shape_of_its_own_at_each_size_on_light_and_dark() {
        for panel in PANELS {
            for side in [22, 24, 44, 48] {
                let seen = SHAPES.map(|shape| (shape, seen(&image(shape, bars(None, None)), side, panel)));
                for (index, (shape, pixels)) in seen.iter().enumerate() {
                    let drawn = pixels.iter().filter(|is_seen| **is_seen).count();
                    assert!(
                        drawn * 6 > side * side,
                        "{shape:?} at {side} on {panel}: {drawn} pixels stand out"
                    );
                    for (other, others) in &seen[..index] {
                        let pairs = || pixels.iter().zip(others);
                        let either = pairs().filter(|(a, b)| **a || **b).count();
                        let one = pairs().filter(|(a, b)| a != b).count();
                        assert!(
                            one * 3 > either,
                            "{shape:?} and {other:?} at {side} on {panel}: {one} of {either} pixels differ"
                        );
                    }
                }
            }
        }
    }
}
