//! A picture at the scale at which it is judged: three planes of the same, small size.

use image::RgbImage;

use super::pixels::{Colour, Pixels, over_black, turned};
use super::{BadPicture, Caps, Facts, header, jpeg, on_its_side, other};

/// The longer side of a [`Small`] in pixels, unless the picture itself is smaller. The weights of the
/// score are fitted to it.
pub const LONGER_SIDE: u32 = 320;

/// A picture, reduced, as displayed: turned as EXIF says, and over black where it is transparent, because
/// that is what players paint their covers on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Small {
    /// Of the whole picture.
    pub facts: Facts,
    pub width: usize,
    pub height: usize,
    /// Full range, 0 to 255, row by row without gaps. So are the other two, 128 being no colour (JFIF).
    pub luma: Vec<u8>,
    pub cb: Vec<u8>,
    pub cr: Vec<u8>,
}

/// Decodes a picture at a reduced scale. Takes milliseconds of one core, and [`super::memory`] at the most.
pub fn small(bytes: &[u8], caps: &Caps) -> Result<Small, BadPicture> {
    let header = header(bytes, caps)?;
    let pixels = match &header.jpeg {
        Some(frame) => {
            jpeg::decode(bytes, frame, eighths(frame.width.max(frame.height)), jpeg::Care::Fast)?
        }
        None => {
            let format = header.facts.format;
            super::guarded(format, || {
                let (image, _) = other::decode(bytes, &header.facts)?;
                Ok(Pixels { colour: Colour::Rgb, image: over_black(image), profile: None })
            })?
        }
    };
    let (mut width, mut height) = target(header.facts.width, header.facts.height);
    if on_its_side(header.orientation) {
        (width, height) = (height, width);
    }
    let image = turned(reduced(pixels.image, width, height), header.orientation);
    Ok(planes(header.facts, &image, pixels.colour))
}

/// The smallest scale of libjpeg that leaves the longer side at least as long as it has to be.
fn eighths(longer: u32) -> u8 {
    (1..8).find(|n| (u64::from(longer) * n).div_ceil(8) >= u64::from(LONGER_SIDE)).unwrap_or(8)
        as u8
}

/// The size in which a picture is judged.
fn target(width: u32, height: u32) -> (u32, u32) {
    let longer = width.max(height);
    if longer <= LONGER_SIDE {
        return (width, height);
    }
    let side = |side: u32| {
        let rounded =
            (u64::from(side) * u64::from(LONGER_SIDE) + u64::from(longer) / 2) / u64::from(longer);
        (rounded as u32).max(1)
    };
    (side(width), side(height))
}

/// Averages areas: every source pixel counts as much as it covers of a target pixel.
fn reduced(image: RgbImage, width: u32, height: u32) -> RgbImage {
    let (from_width, from_height) = image.dimensions();
    if (from_width, from_height) == (width, height) {
        return image;
    }
    let columns = shares(from_width, width);
    let row_bytes = from_width as usize * 3;
    let mut sums = vec![0f32; row_bytes];
    let mut out = Vec::with_capacity(width as usize * height as usize * 3);
    for row in shares(from_height, height) {
        sums.fill(0.0);
        let lines = image.as_raw().chunks_exact(row_bytes).skip(row.first);
        for (line, weight) in lines.zip(row.weights) {
            for (sum, byte) in sums.iter_mut().zip(line) {
                *sum += f32::from(*byte) * weight;
            }
        }
        let (pixels, _) = sums.as_chunks::<3>();
        for column in &columns {
            let mut mean = [0f32; 3];
            for (pixel, weight) in pixels.iter().skip(column.first).zip(&column.weights) {
                for (mean, sum) in mean.iter_mut().zip(pixel) {
                    *mean += sum * weight;
                }
            }
            out.extend(mean.map(|mean| (mean + 0.5) as u8));
        }
    }
    RgbImage::from_raw(width, height, out).unwrap_or_default()
}

/// The source pixels of one target pixel along one side. The weights sum up to 1.
struct Share {
    first: usize,
    weights: Vec<f32>,
}

fn shares(from: u32, to: u32) -> Vec<Share> {
    let (from, to) = (u64::from(from.max(1)), u64::from(to.max(1)));
    // In units of 1/to of a source pixel: a target pixel is `from` of them wide, a source pixel `to`.
    let share = |at: u64| {
        let (start, end) = (at * from, (at + 1) * from);
        let sources = start / to..end.div_ceil(to);
        let covered = |source: u64| end.min((source + 1) * to) - start.max(source * to);
        Share {
            first: sources.start as usize,
            weights: sources.map(|source| covered(source) as f32 / from as f32).collect(),
        }
    };
    (0..to).map(share).collect()
}

fn planes(facts: Facts, image: &RgbImage, colour: Colour) -> Small {
    let (triples, _) = image.as_raw().as_chunks::<3>();
    let ycbcr = |&triple: &[u8; 3]| match colour {
        Colour::YCbCr => triple,
        Colour::Rgb => from_rgb(triple),
    };
    let triples: Vec<[u8; 3]> = triples.iter().map(ycbcr).collect();
    Small {
        facts,
        width: image.width() as usize,
        height: image.height() as usize,
        luma: triples.iter().map(|triple| triple[0]).collect(),
        cb: triples.iter().map(|triple| triple[1]).collect(),
        cr: triples.iter().map(|triple| triple[2]).collect(),
    }
}

/// JFIF's conversion in 16-bit fixed point: <https://www.w3.org/Graphics/JPEG/jfif3.pdf>.
fn from_rgb([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (r, g, b) = (i32::from(r), i32::from(g), i32::from(b));
    let scaled = |sum: i32| ((sum + 0x8000) >> 16).clamp(0, 255) as u8;
    [
        scaled(19595 * r + 38470 * g + 7471 * b),
        scaled(-11059 * r - 21709 * g + 32768 * b + (128 << 16)),
        scaled(32768 * r - 27439 * g - 5329 * b + (128 << 16)),
    ]
}
