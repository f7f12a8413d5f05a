//! Decoded pixels, 8 bits a channel, and the simple things that are done to them.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// What the three channels of a picture without transparency mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Rgb,
    /// Full range, as in JFIF: <https://www.w3.org/Graphics/JPEG/jfif3.pdf>.
    YCbCr,
}

/// Three interleaved bytes a pixel, rows from top to bottom without gaps.
pub(super) struct Pixels {
    pub colour: Colour,
    pub image: RgbImage,
    /// The ICC profile, if it was asked for and is there.
    pub profile: Option<Vec<u8>>,
}

pub(super) fn turned(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Puts a picture over black, on which players paint their covers, and forgets its transparency.
pub(super) fn over_black(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let (width, height) = image.dimensions();
    let faded =
        |channel: u8, alpha: u8| ((u16::from(channel) * u16::from(alpha) + 127) / 255) as u8;
    let mut bytes = image.into_raw();
    // In place: three bytes are written where four were read.
    let count = bytes.len() / 4;
    for at in 0..count {
        let Some(&[r, g, b, a]) = bytes.get(at * 4..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        if let Some(target) = bytes.get_mut(at * 3..at * 3 + 3) {
            target.copy_from_slice(&[faded(r, a), faded(g, a), faded(b, a)]);
        }
    }
    bytes.truncate(count * 3);
    RgbImage::from_raw(width, height, bytes).unwrap_or_default()
}
