//! JPEG, by way of libjpeg (mozjpeg, derived from libjpeg-turbo), because it can decode at n/8 of the size
//! for a third of the cost. Reads the headers itself: what libjpeg would only find out while decoding, or
//! never says, is settled before. A picture that libjpeg would pad with grey is refused as broken.

use image::RgbImage;
use image::metadata::Orientation;
use mozjpeg::{ColorSpace, DctMethod, Decompress, Marker};

use super::pixels::{Colour, Pixels};
use super::{BadPicture, Format};

mod strict;
mod write;

pub(super) use write::{Chroma, encode};

/// libjpeg's time grows with scans times pixels, and a scan takes but a few bytes of a file. Encoders
/// write about ten. <https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf>
const MOST_SCANS: usize = 100;

/// What the headers before the first scan say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// As stored.
    pub width: u32,
    pub height: u32,
    pub orientation: Orientation,
    /// Adobe's programs store CMYK inverted, and say that they wrote it.
    adobe: bool,
}

/// How much care is taken with each pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// What can be had at the least cost, in the colours that the file has.
    Fast,
    /// The best that libjpeg has, in RGB.
    Best,
}

/// Reads the headers up to the first scan.
pub(super) fn frame(bytes: &[u8]) -> Result<Frame, BadPicture> {
    let (mut size, mut orientation, mut adobe) = (None, None, false);
    let mut rest = bytes;
    loop {
        let (marker, after) = next_marker(rest).ok_or(TRUNCATED)?;
        rest = after;
        match marker {
            // SOI, RST0 to RST7 and TEM stand alone.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 => return Err(broken("it holds no picture")),
            _ => {}
        }
        let (length, _) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let segment = rest.get(..length).ok_or(TRUNCATED)?;
        let body = segment.get(2..).ok_or_else(|| broken("a header is shorter than itself"))?;
        rest = rest.get(length..).unwrap_or_default();
        match marker {
            0xc0..=0xc2 if size.is_none() => size = Some(dimensions(body)?),
            0xc4 | 0xc8 | 0xcc => {}
            0xc9..=0xcb => return Err(unsupported("a JPEG with arithmetic coding")),
            0xc3 | 0xc5..=0xc7 | 0xcd..=0xcf => {
                return Err(unsupported("a lossless or hierarchical JPEG"));
            }
            0xe1 if orientation.is_none() => {
                orientation = body.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk);
            }
            0xee => adobe |= body.starts_with(b"Adobe"),
            0xda => break,
            _ => {}
        }
    }
    let (width, height) = size.ok_or_else(|| broken("a scan comes before the frame"))?;
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(Frame { width, height, orientation, adobe })
}

/// Decodes at `eighths`/8 of the size (1 to 8), as stored, not turned.
pub(super) fn decode(
    bytes: &[u8],
    frame: &Frame,
    eighths: u8,
    care: Care,
) -> Result<Pixels, BadPicture> {
    // Also counts what only looks like a scan within a profile or a thumbnail, which is rare enough.
    if bytes.windows(2).filter(|pair| *pair == [0xff, 0xda]).count() > MOST_SCANS {
        return Err(unsupported("a JPEG of more than 100 scans"));
    }
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

const TRUNCATED: BadPicture = BadPicture::Truncated(Format::Jpeg);

fn broken(why: &str) -> BadPicture {
    BadPicture::Broken(Format::Jpeg, why.into())
}

fn unsupported(what: &str) -> BadPicture {
    BadPicture::Unsupported(what.into())
}

fn failed(error: std::io::Error) -> BadPicture {
    broken(&error.to_string())
}

/// The next marker's code and what follows it; bytes before it are skipped, as libjpeg does.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let at = rest.iter().position(|byte| *byte == 0xff)?;
        rest = rest.get(at..)?;
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
        let (code, after) = rest.get(fill..)?.split_first()?;
        rest = after;
        if *code != 0 {
            return Some((*code, after));
        }
    }
}

fn dimensions(body: &[u8]) -> Result<(u32, u32), BadPicture> {
    let Some(&[precision, y1, y0, x1, x0]) = body.first_chunk() else {
        return Err(broken("its frame header is too short"));
    };
    if precision != 8 {
        return Err(unsupported("a JPEG with more than 8 bits a channel"));
    }
    let (width, height) = (u16::from_be_bytes([x1, x0]), u16::from_be_bytes([y1, y0]));
    Ok((u32::from(width), u32::from(height)))
}

/// CMYK ink on white paper as RGB, without colour management.
fn printed(cmyk: &[u8], inverted: bool) -> Vec<u8> {
    let light = |ink: u8| u16::from(if inverted { ink } else { 255 - ink });
    let seen = |ink: u8, black: u8| ((light(ink) * light(black) + 127) / 255) as u8;
    let (inks, _) = cmyk.as_chunks::<4>();
    inks.iter().flat_map(|&[c, m, y, k]| [seen(c, k), seen(m, k), seen(y, k)]).collect()
}
