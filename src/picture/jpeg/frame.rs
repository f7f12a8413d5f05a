//! A JPEG's headers, read by ourselves: what libjpeg would only find out while decoding, or never says, is
//! settled before.

use image::metadata::Orientation;

use super::{broken, unsupported};
use crate::picture::{BadPicture, Format};

/// What the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::picture) struct Frame {
    /// As stored.
    pub width: u32,
    pub height: u32,
    pub orientation: Orientation,
    /// Adobe's programs store CMYK inverted, and say that they wrote it.
    pub(super) adobe: bool,
}

/// libjpeg's time grows with scans times pixels, and a scan takes but a few bytes of a file. Encoders
/// write about ten. <https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf>
const MOST_SCANS: usize = 100;

/// Reads the headers up to the first scan, and if it is not the only one, all others.
pub(in crate::picture) fn frame(bytes: &[u8]) -> Result<Frame, BadPicture> {
    let (mut size, mut orientation, mut adobe, mut scans) = (None, None, false, 0);
    let mut rest = bytes;
    loop {
        let (marker, after) = next_marker(rest).ok_or(TRUNCATED)?;
        rest = after;
        match marker {
            // SOI, RST0 to RST7 and TEM stand alone.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 if scans > 0 => break,
            0xd9 => return Err(broken("it holds no picture")),
            _ => {}
        }
        let (length, _) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let segment = rest.get(..length).ok_or(TRUNCATED)?;
        let body = segment.get(2..).ok_or_else(|| broken("a header is shorter than itself"))?;
        rest = rest.get(length..).unwrap_or_default();
        match marker {
            0xc0..=0xc2 if size.is_none() => size = Some(Size::read(body, marker == 0xc2)?),
            0xc4 | 0xc8 | 0xcc => {}
            0xc9..=0xcb => return Err(unsupported("a JPEG with arithmetic coding")),
            0xc3 | 0xc5..=0xc7 | 0xcd..=0xcf => {
                return Err(unsupported("a lossless or hierarchical JPEG"));
            }
            0xe1 if orientation.is_none() => {
                orientation = body.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk);
            }
            0xee => adobe |= body.starts_with(b"Adobe"),
            0xda => {
                let Some(size) = &size else {
                    return Err(broken("a scan comes before the frame"));
                };
                scans += 1;
                if scans > MOST_SCANS {
                    return Err(unsupported("a JPEG of more than 100 scans"));
                }
                if !size.progressive && body.first() == Some(&size.components) {
                    break;
                }
            }
            _ => {}
        }
    }
    let Size { width, height, .. } = size.ok_or_else(|| broken("it has no frame"))?;
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(Frame { width: width.into(), height: height.into(), orientation, adobe })
}

const TRUNCATED: BadPicture = BadPicture::Truncated(Format::Jpeg);

/// The next marker's code and what follows it. Bytes before it are skipped, as libjpeg does, and so are
/// the data of a scan.
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

/// What a frame's header says.
struct Size {
    width: u16,
    height: u16,
    components: u8,
    progressive: bool,
}

impl Size {
    fn read(body: &[u8], progressive: bool) -> Result<Self, BadPicture> {
        let Some(&[precision, y1, y0, x1, x0, components]) = body.first_chunk() else {
            return Err(broken("its frame header is too short"));
        };
        if precision != 8 {
            return Err(unsupported("a JPEG with more than 8 bits a channel"));
        }
        let (width, height) = (u16::from_be_bytes([x1, x0]), u16::from_be_bytes([y1, y0]));
        Ok(Self { width, height, components, progressive })
    }
}
