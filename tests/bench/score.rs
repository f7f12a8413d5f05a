//! What looking at pictures costs on one core: `cargo bench --bench score [-- RUNS]`.
//!
//! Draws eight snapshots of 1280x720 (about 135 KB each) and one of 1920x1080 (about 267 KB): soft shapes,
//! hard edges and grain, as JPEG with halved chroma, as VOD writes them. Does every kind of work on them, in
//! turn, RUNS times (30). Prints milliseconds for all pictures of a set, and the ratio to the reduced
//! decoding of the same run; of both, the minimum, median and maximum. They are never judged.

use std::hint::black_box;
use std::time::Instant;

use image::ImageFormat;
use mozjpeg::{ColorSpace, Compress};
use vod_cover::picture::{self, Caps, score};

const CAPS: Caps = Caps { bytes: 20 << 20, pixels: 40_000_000 };

/// A kind of work, done on all pictures of a set.
type Work = (&'static str, fn(&[Vec<u8>]));

const WORK: [Work; 3] = [
    ("full decode, image crate", |pictures| {
        for bytes in pictures {
            let image = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg);
            black_box(image.unwrap().into_rgb8());
        }
    }),
    ("reduced decode", |pictures| {
        for bytes in pictures {
            black_box(picture::small(bytes, &CAPS).unwrap());
        }
    }),
    ("reduced decode and score", |pictures| {
        let look = |bytes: &Vec<u8>| score::look(&picture::small(bytes, &CAPS).unwrap());
        let looks: Vec<_> = pictures.iter().map(look).collect();
        black_box(score::rank(&looks));
    }),
];
/// The one that ratios refer to.
const REFERENCE: usize = 1;

fn main() {
    // Cargo itself passes `--bench`.
    let runs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let set = |width, height, kilobytes: usize, seeds: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        seeds.map(|seed| snapshot(width, height, kilobytes * 1000, seed)).collect()
    };
    println!("{:<16} {:<26} {:^24} {:^18}", "pictures", "work", "ms", "ratio");
    for (name, pictures) in [
        ("8 of 1280x720", set(1280, 720, 135, 0..8)),
        ("1 of 1920x1080", set(1920, 1080, 267, 8..9)),
    ] {
        let all = || -> Vec<f64> {
            let timed = |work: fn(&[Vec<u8>])| {
                let began = Instant::now();
                work(&pictures);
                began.elapsed().as_secs_f64() * 1000.0
            };
            WORK.iter().map(|(_, work)| timed(*work)).collect()
        };
        // Once to warm up.
        all();
        let times: Vec<Vec<f64>> = (0..runs.max(1)).map(|_| all()).collect();
        for (at, (work, _)) in WORK.iter().enumerate() {
            let [least, median, most] = spread(times.iter().map(|run| run[at]));
            let ratio = spread(times.iter().map(|run| run[at] / run[REFERENCE]));
            print!("{name:<16} {work:<26} {least:7.2} {median:7.2} {most:7.2}  ");
            println!("{:5.2} {:5.2} {:5.2}", ratio[0], ratio[1], ratio[2]);
        }
    }
}

/// Minimum, median and maximum.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

/// A JPEG that comes near the wanted size by the grain that is put over the picture.
fn snapshot(width: usize, height: usize, size: usize, seed: u32) -> Vec<u8> {
    let picture = drawn(width, height, seed);
    let grained = |grain: f32| -> Vec<u8> {
        let noise = |at: usize| (hash(at as u32 / 3, 0, seed) - 0.5) * grain;
        picture.iter().enumerate().map(|(at, value)| (value + noise(at)) as u8).collect()
    };
    let (mut low, mut high) = (0.0, 40.0);
    let mut bytes = Vec::new();
    for _ in 0..10 {
        let middle = (low + high) / 2.0;
        bytes = encoded(&grained(middle), width, height);
        (low, high) = if bytes.len() < size { (middle, high) } else { (low, middle) };
    }
    assert!(bytes.len().abs_diff(size) < size / 50, "{} bytes instead of {size}", bytes.len());
    bytes
}

fn encoded(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_size(width, height);
    encoder.set_fastest_defaults();
    encoder.set_quality(85.0);
    encoder.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
    let mut encoder = encoder.start_compress(Vec::new()).unwrap();
    encoder.write_scanlines(pixels).unwrap();
    encoder.finish().unwrap()
}

fn drawn(width: usize, height: usize, seed: u32) -> Vec<f32> {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            // The same picture whatever the resolution, but for the grain.
            let (u, v) = (x as f32 * 1280.0 / width as f32, y as f32 * 720.0 / height as f32);
            let cloud = |channel: u32| -> f32 {
                [(240.0, 90.0), (80.0, 40.0), (25.0, 18.0), (8.0, 8.0), (3.0, 4.0)]
                    .iter()
                    .map(|(scale, weight)| {
                        (smooth(u / scale, v / scale, seed * 8 + channel) - 0.5) * weight
                    })
                    .sum()
            };
            let light = cloud(0);
            let shape = (0..5).any(|which| {
                let at = |axis| hash(which, axis, seed);
                let (dx, dy) = (u - at(0) * 1280.0, v - at(1) * 720.0);
                dx * dx + dy * dy < (40.0 + 120.0 * at(2)).powi(2)
            });
            for channel in 1..4 {
                let colour = smooth(u / 300.0, v / 300.0, seed * 8 + channel) * 80.0;
                let value = if shape { 60.0 + light * 0.5 } else { 80.0 + light } + colour;
                pixels.push(value);
            }
        }
    }
    pixels
}

/// Noise that is smooth between whole numbers, 0.0 to 1.0.
fn smooth(x: f32, y: f32, seed: u32) -> f32 {
    let corner = |dx: u32, dy: u32| hash(x as u32 + dx, y as u32 + dy, seed);
    let (u, v) = (x.fract(), y.fract());
    let top = corner(0, 0) * (1.0 - u) + corner(1, 0) * u;
    let bottom = corner(0, 1) * (1.0 - u) + corner(1, 1) * u;
    top * (1.0 - v) + bottom * v
}

/// 0.0 to 1.0, the same on every machine.
fn hash(x: u32, y: u32, seed: u32) -> f32 {
    let mut bits =
        x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    (bits ^ (bits >> 15)) as f32 / u32::MAX as f32
}
