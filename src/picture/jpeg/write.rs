//! Writes JPEGs.

use image::RgbImage;
use mozjpeg::{ColorSpace, Compress, Marker};

use super::{PROFILE, failed, strict};
use crate::picture::pixels::Colour;
use crate::picture::{BadPicture, Format, guarded};

/// How many samples of colour there are for those of light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::picture) enum Chroma {
    /// As many: red letters stay sharp.
    Full,
    /// One for a square of four (4:2:0).
    Quarter,
}

/// A baseline JPEG, which everything can read, of a quality on libjpeg's scale, 1 to 100, with an ICC
/// profile or none. The profile has to fit into one marker. mozjpeg's own refinements would make it 10%
/// smaller, and take ten times as long.
pub(in crate::picture) fn encode(
    image: &RgbImage,
    colour: Colour,
    profile: Option<&[u8]>,
    quality: u8,
    chroma: Chroma,
) -> Result<Vec<u8>, BadPicture> {
    guarded(Format::Jpeg, || {
        let errors = Box::new(strict::errors());
        let colour_space = match colour {
            Colour::Rgb => ColorSpace::JCS_RGB,
            Colour::YCbCr => ColorSpace::JCS_YCbCr,
        };
        let mut encoder = Compress::new_err(errors, colour_space);
        encoder.set_size(image.width() as usize, image.height() as usize);
        encoder.set_fastest_defaults();
        encoder.set_optimize_coding(true);
        encoder.set_quality(f32::from(quality));
        let side = if chroma == Chroma::Full { (1, 1) } else { (2, 2) };
        encoder.set_chroma_sampling_pixel_sizes(side, side);
        let mut encoder = encoder.start_compress(Vec::new()).map_err(failed)?;
        if let Some(profile) = profile {
            encoder.write_marker(Marker::APP(2), &[PROFILE, profile].concat());
        }
        encoder.write_scanlines(image.as_raw()).map_err(failed)?;
        encoder.finish().map_err(failed)
    })
}
