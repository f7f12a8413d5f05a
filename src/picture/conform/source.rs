//! The picture that is to conform, decoded with care, and in any size.

use image::DynamicImage;

use super::{Limits, scale};
use crate::picture::{BadPicture, Facts, Header, guarded, jpeg, on_its_side, other};

/// Longer ICC profiles are dropped: they do not fit into one marker of a JPEG.
const MOST_PROFILE: usize = 65_000;

pub(super) struct Source {
    pub header: Header,
    /// 8 bits a channel, as stored, and with an alpha channel only if anything is transparent.
    pub image: DynamicImage,
    pub profile: Option<Vec<u8>>,
}

pub(super) fn read(bytes: &[u8], header: Header, limits: &Limits) -> Result<Source, BadPicture> {
    let (image, profile) = match &header.jpeg {
        Some(frame) => {
            let eighths = eighths(&header.facts, limits);
            let pixels = jpeg::decode(bytes, frame, eighths, jpeg::Care::Best)?;
            (pixels.image.into(), pixels.profile)
        }
        None => guarded(header.facts.format, || {
            let (image, profile) = other::decode(bytes, &header.facts)?;
            Ok((plain(image), profile))
        })?,
    };
    // A profile for grey or CMYK would be wrong for what is written.
    let kept =
        |profile: &Vec<u8>| profile.len() <= MOST_PROFILE && profile.get(16..20) == Some(b"RGB ");
    Ok(Source { header, image, profile: profile.filter(kept) })
}

impl Source {
    /// A part of the largest size that fits into the box, as displayed.
    pub fn target(&self, limits: &Limits, part: f64) -> (u32, u32) {
        target(&self.header.facts, limits, part)
    }

    /// In a size as displayed, and turned upright.
    pub fn resized(&self, (width, height): (u32, u32)) -> Result<DynamicImage, BadPicture> {
        let (width, height) = match on_its_side(self.header.orientation) {
            true => (height, width),
            false => (width, height),
        };
        let mut image =
            scale::to(&self.image, width, height).map_err(|error| self.broken(error.as_ref()))?;
        image.apply_orientation(self.header.orientation);
        Ok(image)
    }

    pub fn broken(&self, error: &(dyn std::error::Error + 'static)) -> BadPicture {
        BadPicture::Broken(self.header.facts.format, crate::error::chain(error))
    }
}

fn plain(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image.into_rgb8().into();
    }
    let image = image.into_rgba8();
    let transparent = image.pixels().any(|pixel| pixel.0[3] < u8::MAX);
    let image = DynamicImage::from(image);
    if transparent { image } else { image.into_rgb8().into() }
}

fn target(facts: &Facts, limits: &Limits, part: f64) -> (u32, u32) {
    let (width, height) = (f64::from(facts.width), f64::from(facts.height));
    let fitting = (f64::from(limits.width) / width).min(f64::from(limits.height) / height);
    let scale = fitting.min(1.0) * part;
    let side = |side: f64, most: u32| ((side * scale).round() as u32).clamp(1, most.max(1));
    (side(width, limits.width), side(height, limits.height))
}

/// The scale for libjpeg: what it leaves is at least twice what is wanted, and the rest is done better.
fn eighths(facts: &Facts, limits: &Limits) -> u8 {
    let (width, height) = target(facts, limits, 1.0);
    let (longer, wanted) = (facts.width.max(facts.height), width.max(height));
    let enough = |n: &u64| u64::from(longer) * n / 8 >= u64::from(wanted) * 2;
    (1..8).find(enough).unwrap_or(8) as u8
}
