//! Makes a picture that satisfies VOD's limits for covers from one that does not, as well as it can be
//! made: turned upright, scaled down in linear light, never up, at the highest quality that fits. Metadata
//! is dropped, but a small ICC profile is kept.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, RgbImage};
use serde::Deserialize;

use super::jpeg::{self, Chroma};
use super::pixels::{Colour, over_black};
use super::{BadPicture, Caps, Facts, Format, Header, guarded, header, on_its_side, other};

mod scale;

/// The section `[limits]`: what VOD's console takes as a cover, beside that it is a JPEG or a PNG. A
/// portrait picture has to fit into the same box.
/// <https://www.alibabacloud.com/help/en/vod/user-guide/configure-video-thumbnails>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// At the most. "1 MB" is taken as 1,000,000, which is below 1 MiB as well.
    pub bytes: usize,
    pub width: u32,
    pub height: u32,
}

/// A picture that satisfies the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conformed {
    pub bytes: Vec<u8>,
    pub facts: Facts,
    /// Whether the bytes are other ones than those given.
    pub changed: bool,
}

/// The qualities of a JPEG that are tried, on libjpeg's scale. Above the best, only the file grows; below
/// the worst, a smaller picture looks better.
const BEST: u8 = 92;
const WORST: u8 = 60;

/// The sizes that are tried, each a part of the one before it, and the longer side at which that ends.
const STEP: f64 = 0.8;
const SMALLEST: u32 = 64;

/// The sizes at which a picture with transparency may stay a PNG: below, it is put over black.
const PNG_SIZES: [f64; 3] = [1.0, 0.75, 0.5];

/// Longer ICC profiles are dropped: they do not fit into one marker of a JPEG.
const MOST_PROFILE: usize = 65_000;

/// What of a picture breaks the limits, if anything does.
pub fn satisfies(facts: &Facts, limits: &Limits) -> Result<(), String> {
    let Facts { format, bytes, width, height } = *facts;
    if !matches!(format, Format::Jpeg | Format::Png) {
        return Err(format!("it is a {format}, and only JPEG and PNG are allowed"));
    }
    if bytes > limits.bytes {
        return Err(format!("it has {bytes} bytes, and {} are allowed", limits.bytes));
    }
    if width > limits.width || height > limits.height {
        let (most_width, most_height) = (limits.width, limits.height);
        return Err(format!(
            "it has {width}x{height} pixels, and {most_width}x{most_height} are allowed"
        ));
    }
    Ok(())
}

/// A picture as it is, if it is sound, upright and satisfies the limits, or else one made from it that does.
/// A PNG, GIF or WebP that is transparent anywhere becomes a PNG, if that fits at half its size or more.
/// Everything else becomes a JPEG, transparency over black. Takes up to seconds of one core, and up to
/// 16 bytes a pixel of memory.
pub fn conform(bytes: &[u8], caps: &Caps, limits: &Limits) -> Result<Conformed, BadPicture> {
    let header = header(bytes, caps)?;
    let upright = header.orientation == Orientation::NoTransforms;
    if upright && satisfies(&header.facts, limits).is_ok() {
        super::small(bytes, caps)?;
        return Ok(Conformed { bytes: bytes.to_vec(), facts: header.facts, changed: false });
    }
    let source = source(bytes, &header, limits)?;
    if source.image.color().has_alpha()
        && let Some(conformed) = as_png(&source, &header, limits)?
    {
        return Ok(conformed);
    }
    as_jpeg(source, &header, limits)
}

/// What is worked on: 8 bits a channel, as stored, and with an alpha channel only if that is used.
struct Source {
    image: DynamicImage,
    profile: Option<Vec<u8>>,
}

fn source(bytes: &[u8], header: &Header, limits: &Limits) -> Result<Source, BadPicture> {
    let (image, profile) = match &header.jpeg {
        Some(frame) => {
            let pixels =
                jpeg::decode(bytes, frame, eighths(&header.facts, limits), jpeg::Care::Best)?;
            (pixels.image.into(), pixels.profile)
        }
        None => guarded(header.facts.format, || {
            let (image, profile) = other::decode(bytes, &header.facts)?;
            let transparent = image.color().has_alpha() && {
                let image = image.to_rgba8();
                image.pixels().any(|pixel| pixel.0[3] < u8::MAX)
            };
            Ok(match transparent {
                true => (image.into_rgba8().into(), profile),
                false => (DynamicImage::from(image.into_rgb8()), profile),
            })
        })?,
    };
    // A profile for grey or CMYK would be wrong for what is written.
    let fits =
        |profile: &Vec<u8>| profile.len() <= MOST_PROFILE && profile.get(16..20) == Some(b"RGB ");
    Ok(Source { image, profile: profile.filter(fits) })
}

/// The scale for libjpeg: what it leaves is at least twice what is wanted, and the rest is done better.
fn eighths(facts: &Facts, limits: &Limits) -> u8 {
    let (width, _) = target(facts, limits, 1.0);
    let enough = |n: &u64| u64::from(facts.width) * n / 8 >= u64::from(width) * 2;
    (1..8).find(enough).unwrap_or(8) as u8
}

/// A part of the largest size that fits into the box, as displayed.
fn target(facts: &Facts, limits: &Limits, part: f64) -> (u32, u32) {
    let (width, height) = (f64::from(facts.width), f64::from(facts.height));
    let scale =
        (f64::from(limits.width) / width).min(f64::from(limits.height) / height).min(1.0) * part;
    let side = |side: f64, most: u32| ((side * scale).round() as u32).clamp(1, most.max(1));
    (side(width, limits.width), side(height, limits.height))
}

/// As a PNG with transparency, if one fits.
fn as_png(
    source: &Source,
    header: &Header,
    limits: &Limits,
) -> Result<Option<Conformed>, BadPicture> {
    for part in PNG_SIZES {
        let size = target(&header.facts, limits, part);
        let image = resized(&source.image, size, header)?;
        let mut bytes = Vec::new();
        let mut encoder =
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
        if let Some(profile) = &source.profile {
            // Not supported would mean that the picture is written without it.
            let _ = encoder.set_icc_profile(profile.clone());
        }
        image.write_with_encoder(encoder).map_err(|error| failed(header, &error))?;
        if bytes.len() <= limits.bytes {
            return Ok(Some(conformed(bytes, Format::Png, size)));
        }
    }
    Ok(None)
}

/// As a JPEG, in the largest size in which one fits.
fn as_jpeg(source: Source, header: &Header, limits: &Limits) -> Result<Conformed, BadPicture> {
    let opaque = DynamicImage::from(over_black(source.image));
    let parts = std::iter::successors(Some(1.0), |part| Some(part * STEP));
    for size in parts.map(|part| target(&header.facts, limits, part)) {
        let image = resized(&opaque, size, header)?.into_rgb8();
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
        let bytes = jpeg::encode(image, Colour::Rgb, profile, quality, chroma)?;
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

/// In a size as displayed, and turned upright.
fn resized(
    image: &DynamicImage,
    (width, height): (u32, u32),
    header: &Header,
) -> Result<DynamicImage, BadPicture> {
    let (width, height) = match on_its_side(header.orientation) {
        true => (height, width),
        false => (width, height),
    };
    let mut image =
        scale::to(image, width, height).map_err(|error| failed(header, error.as_ref()))?;
    image.apply_orientation(header.orientation);
    Ok(image)
}

fn failed(header: &Header, error: &(dyn std::error::Error + 'static)) -> BadPicture {
    BadPicture::Broken(header.facts.format, crate::error::chain(error))
}
