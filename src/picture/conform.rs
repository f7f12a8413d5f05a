//! Makes a picture that satisfies VOD's limits for covers from one that does not, as well as it can be
//! made: turned upright, scaled down in linear light, never up, at the highest quality that fits. Metadata
//! is dropped, but a small ICC profile is kept.

use image::metadata::Orientation;
use serde::Deserialize;

use super::{BadPicture, Caps, Facts, Format, header, small};

mod scale;
mod source;
mod write;

/// The section `[limits]`: what VOD's console takes as a cover, beside that it is a JPEG or a PNG. A
/// portrait picture has to fit into the same box.
/// <https://www.alibabacloud.com/help/en/vod/user-guide/set-the-video-thumbnail>
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
/// 14 bytes a pixel of memory.
pub fn conform(bytes: &[u8], caps: &Caps, limits: &Limits) -> Result<Conformed, BadPicture> {
    let header = header(bytes, caps)?;
    let upright = header.orientation == Orientation::NoTransforms;
    if upright && satisfies(&header.facts, limits).is_ok() {
        // Only to see that it is sound.
        small(bytes, caps)?;
        return Ok(Conformed { bytes: bytes.to_vec(), facts: header.facts, changed: false });
    }
    let source = source::read(bytes, header, limits)?;
    match write::png(&source, limits)? {
        Some(conformed) => Ok(conformed),
        None => write::jpeg(source, limits),
    }
}
