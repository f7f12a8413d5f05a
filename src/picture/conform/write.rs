//! Writes what is to conform, as well as the limits allow.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, RgbImage};

use super::source::Source;
use super::{Conformed, Limits};
use crate::picture::jpeg::{Chroma, encode};
use crate::picture::pixels::{Colour, over_black};
use crate::picture::{BadPicture, Facts, Format};

/// The qualities of a JPEG that are tried, on libjpeg's scale. Above the best, only the file grows; below
/// the worst, a smaller picture looks better.
const BEST: u8 = 92;
const WORST: u8 = 60;

/// The sizes that are tried, each a part of the one before it, and the longer side at which that ends.
const STEP: f64 = 0.8;
const SMALLEST: u32 = 64;

/// The sizes at which a picture with transparency may stay a PNG: below, it is put over black.
const PNG_SIZES: [f64; 3] = [1.0, 0.75, 0.5];

/// A PNG of a picture with transparency, in the largest size in which one fits, if any.
pub(super) fn png(source: &Source, limits: &Limits) -> Result<Option<Conformed>, BadPicture> {
    if !source.image.color().has_alpha() {
        return Ok(None);
    }
    for part in PNG_SIZES {
        let size = source.target(limits, part);
        let image = source.resized(size)?;
        let mut bytes = Vec::new();
        let mut encoder =
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
        if let Some(profile) = &source.profile {
            encoder.set_icc_profile(profile.clone()).map_err(|error| source.broken(&error))?;
        }
        image.write_with_encoder(encoder).map_err(|error| source.broken(&error))?;
        if bytes.len() <= limits.bytes {
            return Ok(Some(conformed(bytes, Format::Png, size)));
        }
    }
    Ok(None)
}

/// A JPEG in the largest size in which one fits.
pub(super) fn jpeg(source: Source, limits: &Limits) -> Result<Conformed, BadPicture> {
    let source = Source { image: over_black(source.image).into(), ..source };
    let parts = std::iter::successors(Some(1.0), |part| Some(part * STEP));
    for size in parts.map(|part| source.target(limits, part)) {
        let image = source.resized(size)?.into_rgb8();
        if let Some(bytes) = at_its_best(&image, source.profile.as_deref(), limits.bytes)? {
            return Ok(conformed(bytes, Format::Jpeg, size));
        }
        if size.0.max(size.1) < SMALLEST {
            break;
        }
    }
    Err(BadPicture::Unfit(limits.bytes))
}

/// The best JPEG that has at most so many bytes: full colour at the best quality, else a quarter of it at
/// the highest quality that fits.
fn at_its_best(
    image: &RgbImage,
    profile: Option<&[u8]>,
    most: usize,
) -> Result<Option<Vec<u8>>, BadPicture> {
    let fitting = |quality, chroma| {
        let bytes = encode(image, Colour::Rgb, profile, quality, chroma)?;
        Ok((bytes.len() <= most).then_some(bytes))
    };
    if let Some(bytes) = fitting(BEST, Chroma::Full)? {
        return Ok(Some(bytes));
    }
    let Some(mut found) = fitting(WORST, Chroma::Quarter)? else { return Ok(None) };
    let (mut fits, mut too_big) = (WORST, BEST + 1);
    while too_big - fits > 1 {
        let middle = fits.midpoint(too_big);
        match fitting(middle, Chroma::Quarter)? {
            Some(bytes) => (found, fits) = (bytes, middle),
            None => too_big = middle,
        }
    }
    Ok(Some(found))
}

fn conformed(bytes: Vec<u8>, format: Format, (width, height): (u32, u32)) -> Conformed {
    let facts = Facts { format, bytes: bytes.len(), width, height };
    Conformed { bytes, facts, changed: true }
}
