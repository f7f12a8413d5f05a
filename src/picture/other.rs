//! PNG, GIF and WebP, by way of the `image` crate. Of an animation, the first frame.

use std::io::{Cursor, ErrorKind};

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits};

use super::{BadPicture, Facts, Format, memory};

/// What a PNG's header may unpack to, in bytes: a colour profile can be a bomb too. Also bounds one row.
pub(super) const MOST_HEADER_MEMORY: u64 = 16 << 20;

/// Width and height as stored, and how it is to be turned.
pub(super) fn header(bytes: &[u8], format: Format) -> Result<(u32, u32, Orientation), BadPicture> {
    let mut decoder = open(bytes, format)?;
    let (width, height) = decoder.dimensions();
    Ok((width, height, decoder.orientation().unwrap_or(Orientation::NoTransforms)))
}

/// The picture as stored, not turned, and its ICC profile.
pub(super) fn decode(
    bytes: &[u8],
    facts: &Facts,
) -> Result<(DynamicImage, Option<Vec<u8>>), BadPicture> {
    let mut decoder = open(bytes, facts.format)?;
    // One that cannot be read is as good as none.
    let profile = decoder.icc_profile().unwrap_or_default();
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory(facts));
    decoder.set_limits(limits).map_err(|error| bad(facts.format, error))?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| bad(facts.format, error))?;
    Ok((image, profile))
}

fn open<'a>(bytes: &'a [u8], format: Format) -> Result<Box<dyn ImageDecoder + 'a>, BadPicture> {
    let source = Cursor::new(bytes);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_HEADER_MEMORY);
    let decoder: Result<Box<dyn ImageDecoder>, ImageError> = match format {
        Format::Png => {
            PngDecoder::with_limits(source, limits).map(|decoder| Box::new(decoder) as _)
        }
        Format::Gif => GifDecoder::new(source).map(|decoder| Box::new(decoder) as _),
        Format::WebP => WebPDecoder::new(source).map(|decoder| Box::new(decoder) as _),
        Format::Jpeg => return Err(BadPicture::Unsupported("a JPEG in a place for others".into())),
    };
    decoder.map_err(|error| bad(format, error))
}

fn bad(format: Format, error: ImageError) -> BadPicture {
    match &error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            BadPicture::Truncated(format)
        }
        _ => BadPicture::Broken(format, crate::error::chain(&error)),
    }
}
