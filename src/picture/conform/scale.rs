//! Scales down in linear light, as light adds up on a screen: stars and thin white letters keep their
//! brightness. Takes every picture as sRGB, which is near enough for the usual profiles.

use std::error::Error;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer, create_srgb_mapper};
use image::{DynamicImage, RgbImage, RgbaImage};

/// A picture of 8 bits in 3 or 4 channels, in another size, by a Lanczos filter. Where it is transparent,
/// colours count as much as they are seen.
pub(super) fn to(
    image: &DynamicImage,
    width: u32,
    height: u32,
) -> Result<DynamicImage, Box<dyn Error>> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image.clone());
    }
    let (eight, sixteen) = match image {
        DynamicImage::ImageRgba8(_) => (PixelType::U8x4, PixelType::U16x4),
        DynamicImage::ImageRgb8(_) => (PixelType::U8x3, PixelType::U16x3),
        _ => return Err("a picture to be scaled must have 8 bits in 3 or 4 channels".into()),
    };
    let light = create_srgb_mapper();
    let source = ImageRef::new(image.width(), image.height(), image.as_bytes(), eight)?;
    let mut linear = Image::new(image.width(), image.height(), sixteen);
    light.forward_map(&source, &mut linear)?;
    let mut scaled = Image::new(width, height, sixteen);
    // Lanczos3 is its default, and so is multiplying by alpha.
    Resizer::new().resize(&linear, &mut scaled, None)?;
    drop(linear);
    let mut target = Image::new(width, height, eight);
    light.backward_map(&scaled, &mut target)?;
    let bytes = target.into_vec();
    let image = match eight {
        PixelType::U8x4 => RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
    };
    image.ok_or_else(|| "the scaled picture lacks rows".into())
}
