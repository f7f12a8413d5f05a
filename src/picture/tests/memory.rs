//! Decoding takes no more memory than it says. libjpeg allocates outside Rust, so that only the peak of a
//! whole process tells, and every picture is decoded in a process of its own: this test, run by itself.

use std::process::Command;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mozjpeg::ColorSpace;

use super::drawn::*;
use super::*;

/// The file that the process is to decode.
const FILE: &str = "VOD_COVER_TEST_DECODE";

#[test]
fn decoding_takes_no_more_memory_than_it_says() {
    if let Some(file) = std::env::var_os(FILE) {
        return decode(&std::fs::read(file).unwrap());
    }
    // Cheap to draw and to encode, large to decode.
    let flat = |width, height| RgbImage::from_pixel(width, height, Rgb([200, 90, 30]));
    let large = flat(2000, 1200);
    let rgba16 = |image: &RgbImage| DynamicImage::from(disc(image)).into_rgba16();
    let pictures = [
        ("baseline", jpeg(&large)),
        ("progressive", progressive(&large)),
        ("progressive CMYK", progressive_cmyk(&large)),
        ("YCCK", cmyk(&large, ColorSpace::JCS_YCCK)),
        ("one column", progressive(&flat(1, 60_000))),
        ("one row", progressive(&flat(60_000, 1))),
        ("16-bit PNG with alpha", png(rgba16(&flat(900, 800)))),
        ("PNG of one row", png(DynamicImage::from(flat(1_000_000, 1)).into_rgba16())),
        ("GIF", encoded(large.clone(), ImageFormat::Gif)),
        ("WebP", encoded(disc(&flat(900, 800)), ImageFormat::WebP)),
        ("bomb in a profile", profile_bomb()),
    ];
    for (name, bytes) in pictures {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "picture::tests::memory::decoding_takes_no_more_memory_than_it_says",
            ])
            .env(FILE, file.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let taken = said.lines().find_map(|line| line.strip_prefix("taken ")).unwrap();
        let taken: u64 = taken.parse().unwrap();
        let most = memory(&facts(&bytes, &CAPS).unwrap());
        println!("{name}: {} of {} KiB", taken / 1024, most / 1024);
        assert!(taken <= most, "{name} took {taken} of {most} bytes");
        assert!(taken > 0, "{name}");
    }
}

fn decode(bytes: &[u8]) {
    let before = peak();
    let result = small(bytes, &CAPS);
    println!("\ntaken {}", peak() - before);
    drop(result);
}

/// The most memory that the process had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}
