//! What a picture is, found by its content and never by its name, and its pixels at the scale at which they
//! are judged. Pure: bytes in, values out. The bytes come from outside: whatever they are, the answer is a
//! picture or a reason, within [`Caps`] that are checked before anything is decoded.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use serde::Deserialize;

pub mod conform;
mod jpeg;
mod other;
mod pixels;
pub mod score;
mod small;
mod sniff;
mod thumbnail;

pub use small::{LONGER_SIDE, Small, small};
pub use thumbnail::thumbnail;

/// The kinds of pictures that are understood. Of an animated one, the first frame counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
}

impl Format {
    /// Its usual file name extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::WebP => "webp",
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
        })
    }
}

/// What a picture's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub format: Format,
    /// Length of the file.
    pub bytes: usize,
    /// In pixels, as displayed: EXIF orientation is applied.
    pub width: u32,
    pub height: u32,
}

/// What is refused before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub bytes: usize,
    pub pixels: u64,
}

/// The section `[picture]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// See [`Caps::pixels`].
    pub most_pixels: u64,
}

/// Why there is no usable picture. It is a verdict on the bytes: the same ones never become usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPicture {
    #[error("it is empty")]
    Empty,
    #[error("it is {0}, not a picture")]
    NotAPicture(String),
    #[error(
        "it is {0}, which is not supported; use a baseline or progressive JPEG, a PNG, GIF or WebP"
    )]
    Unsupported(String),
    #[error("it has {bytes} bytes, and at most {most} are read")]
    TooManyBytes { bytes: usize, most: usize },
    #[error("it has {width}x{height} pixels, and at most {most} in all are decoded")]
    TooManyPixels { width: u32, height: u32, most: u64 },
    #[error("the {0} is truncated")]
    Truncated(Format),
    #[error("the {0} is broken: {1}")]
    Broken(Format, String),
    #[error("it does not fit into {0} bytes in any size; raise limits.bytes")]
    Unfit(usize),
}

/// Reads the header only, and checks it against `caps`. The rest may still turn out to be broken.
pub fn facts(bytes: &[u8], caps: &Caps) -> Result<Facts, BadPicture> {
    Ok(header(bytes, caps)?.facts)
}

/// The most memory in bytes, the file itself not counted, that [`small()`] takes for a picture with these
/// facts, whatever the rest of the file holds: a progressive JPEG keeps every coefficient in 2 bytes, and a
/// PNG may have 16 bits in each of 4 channels, which are then made 8.
pub fn memory(facts: &Facts) -> u64 {
    let (width, height) = (u64::from(facts.width), u64::from(facts.height));
    let pixels = match facts.format {
        // libjpeg pads both sides to whole MCUs, of at most 32 pixels.
        Format::Jpeg => 9 * (width + 31) * (height + 31),
        // And what its header may unpack to.
        Format::Png => 14 * width * height + 2 * other::MOST_HEADER_MEMORY,
        Format::Gif | Format::WebP => 12 * width * height,
    };
    // A few rows, which as displayed may be columns, and tables.
    pixels + 32 * width.max(height) + (4 << 20)
}

/// What decoding starts from.
struct Header {
    facts: Facts,
    orientation: Orientation,
    /// What only a JPEG has.
    jpeg: Option<jpeg::Frame>,
}

fn header(bytes: &[u8], caps: &Caps) -> Result<Header, BadPicture> {
    if bytes.len() > caps.bytes {
        return Err(BadPicture::TooManyBytes { bytes: bytes.len(), most: caps.bytes });
    }
    let format = sniff::format(bytes)?;
    let (width, height, orientation, jpeg) = match format {
        Format::Jpeg => {
            let frame = jpeg::frame(bytes)?;
            (frame.width, frame.height, frame.orientation, Some(frame))
        }
        _ => {
            let (width, height, orientation) = guarded(format, || other::header(bytes, format))?;
            (width, height, orientation, None)
        }
    };
    if width == 0 || height == 0 {
        return Err(BadPicture::Broken(format, format!("it has {width}x{height} pixels")));
    }
    if u64::from(width) * u64::from(height) > caps.pixels {
        return Err(BadPicture::TooManyPixels { width, height, most: caps.pixels });
    }
    let (width, height) = match on_its_side(orientation) {
        true => (height, width),
        false => (width, height),
    };
    Ok(Header { facts: Facts { format, bytes: bytes.len(), width, height }, orientation, jpeg })
}

/// Whether displaying it exchanges width and height.
fn on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// Runs a decoder. libjpeg's errors arrive here by unwinding ([`jpeg`] sends a [`BadPicture`]), and a panic
/// of a decoder, which only a defect in it can cause, is a verdict on the picture as well.
fn guarded<T>(
    format: Format,
    decode: impl FnOnce() -> Result<T, BadPicture>,
) -> Result<T, BadPicture> {
    // Nothing of a decoder outlives its unwinding.
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|payload| {
        Err(match payload.downcast::<BadPicture>() {
            Ok(bad) => *bad,
            Err(_) => BadPicture::Broken(format, "its decoder gave up".into()),
        })
    })
}

#[cfg(test)]
mod tests;
