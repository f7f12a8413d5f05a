//! A reduced picture as a JPEG for people to look at.

use image::RgbImage;

use super::pixels::Colour;
use super::{BadPicture, Small, jpeg};

const QUALITY: u8 = 80;

/// A JPEG of what was judged: the longer side has at most [`super::LONGER_SIDE`] pixels.
pub fn thumbnail(small: &Small) -> Result<Vec<u8>, BadPicture> {
    let planes = small.luma.iter().zip(&small.cb).zip(&small.cr);
    let bytes: Vec<u8> = planes.flat_map(|((y, cb), cr)| [*y, *cb, *cr]).collect();
    let image = RgbImage::from_raw(small.width as u32, small.height as u32, bytes);
    let image = image.unwrap_or_default();
    jpeg::encode(&image, Colour::YCbCr, None, QUALITY, jpeg::Chroma::Quarter)
}
