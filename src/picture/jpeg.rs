//! JPEG, by way of libjpeg (mozjpeg, derived from libjpeg-turbo), because it can decode at n/8 of the size,
//! which leaves little but the entropy decoding to be paid for. A picture of which libjpeg would make up a
//! part is refused as broken.

use image::RgbImage;
use mozjpeg::{ColorSpace, DctMethod, Decompress, Marker};

use super::pixels::{Colour, Pixels};
use super::{BadPicture, Format};

mod frame;
mod strict;
mod write;

pub(super) use frame::{Frame, frame};
pub(super) use write::{Chroma, encode};

/// How much care is taken with each pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// What can be had at the least cost, in the colours that the file has.
    Fast,
    /// The best that libjpeg has, in RGB.
    Best,
}

/// Decodes at `eighths`/8 of the size (1 to 8), as stored, not turned.
pub(super) fn decode(
    bytes: &[u8],
    frame: &Frame,
    eighths: u8,
    care: Care,
) -> Result<Pixels, BadPicture> {
    super::guarded(Format::Jpeg, || {
        let kept: &[Marker] = if care == Care::Best { &[Marker::APP(2)] } else { &[] };
        let builder = Decompress::builder().with_markers(kept).with_err(strict::errors());
        let mut decoder = builder.from_mem(bytes).map_err(failed)?;
        if decoder.size() != (frame.width as usize, frame.height as usize) {
            return Err(broken("it has frames of different sizes"));
        }
        decoder.scale(eighths.clamp(1, 8));
        if care == Care::Fast {
            decoder.dct_method(DctMethod::IntegerFast);
            decoder.do_fancy_upsampling(false);
        }
        let profile = decoder.markers().find_map(|marker| marker.data.strip_prefix(PROFILE));
        let profile = profile.map(<[u8]>::to_vec);
        let stored = decoder.color_space();
        let wanted = match (stored, care) {
            (ColorSpace::JCS_GRAYSCALE, _) => ColorSpace::JCS_GRAYSCALE,
            (ColorSpace::JCS_YCbCr, Care::Fast) => ColorSpace::JCS_YCbCr,
            (ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB, _) => ColorSpace::JCS_RGB,
            (ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK, _) => ColorSpace::JCS_CMYK,
            _ => return Err(unsupported("a JPEG of unknown colours")),
        };
        let mut decoder = decoder.to_colorspace(wanted).map_err(failed)?;
        let (width, height) = (decoder.width() as u32, decoder.height() as u32);
        let samples = decoder.read_scanlines::<u8>().map_err(failed)?;
        decoder.finish().map_err(failed)?;
        let (colour, rgb) = match wanted {
            ColorSpace::JCS_YCbCr => (Colour::YCbCr, samples),
            ColorSpace::JCS_RGB => (Colour::Rgb, samples),
            ColorSpace::JCS_GRAYSCALE => {
                (Colour::Rgb, samples.iter().flat_map(|grey| [*grey; 3]).collect())
            }
            _ => (Colour::Rgb, printed(&samples, frame.adobe)),
        };
        let image =
            RgbImage::from_raw(width, height, rgb).ok_or_else(|| broken("it lacks rows"))?;
        Ok(Pixels { colour, image, profile })
    })
}

/// How the marker APP2 begins that holds a whole ICC profile: it is number 1 of 1.
/// <https://www.color.org/technotes/ICC-Technote-ProfileEmbedding.pdf>
const PROFILE: &[u8] = b"ICC_PROFILE\0\x01\x01";

fn broken(why: &str) -> BadPicture {
    BadPicture::Broken(Format::Jpeg, why.into())
}

fn unsupported(what: &str) -> BadPicture {
    BadPicture::Unsupported(what.into())
}

fn failed(error: std::io::Error) -> BadPicture {
    broken(&error.to_string())
}

/// CMYK ink on white paper as RGB, without colour management.
fn printed(cmyk: &[u8], inverted: bool) -> Vec<u8> {
    let light = |ink: u8| u16::from(if inverted { ink } else { 255 - ink });
    let seen = |ink: u8, black: u8| ((light(ink) * light(black) + 127) / 255) as u8;
    let (inks, _) = cmyk.as_chunks::<4>();
    inks.iter().flat_map(|&[c, m, y, k]| [seen(c, k), seen(m, k), seen(y, k)]).collect()
}
