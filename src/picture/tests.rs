use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;

const CAPS: Caps = Caps { bytes: 20 << 20, pixels: 40_000_000 };

/// Red, green, blue and grey quarters, with a soft gradient.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let soft = (x * 40 / width.max(1)) as u8;
        Rgb(match (x * 2 < width, y * 2 < height) {
            (true, true) => [200, soft, soft],
            (false, true) => [soft, 180, soft],
            (true, false) => [soft, soft, 160],
            (false, false) => [100 + soft, 100 + soft, 100 + soft],
        })
    })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(image).unwrap();
    bytes
}

#[test]
fn the_three_planes_of_a_jpeg_are_small_and_of_its_colours() {
    let small = small(&jpeg(&quarters(1280, 720)), &CAPS).unwrap();
    assert_eq!((small.facts.width, small.facts.height), (1280, 720));
    assert_eq!((small.width, small.height), (320, 180));
    for plane in [&small.luma, &small.cb, &small.cr] {
        assert_eq!(plane.len(), 320 * 180);
    }
    let at = |x: usize, y: usize| {
        let at = y * 320 + x;
        [small.luma[at], small.cb[at], small.cr[at]]
    };
    // Blue in the lower left: RGB (10, 10, 160) is Y 27, Cb 203, Cr 116.
    let [y, cb, cr] = at(80, 135);
    assert!(y.abs_diff(27) < 4 && cb.abs_diff(203) < 4 && cr.abs_diff(116) < 4, "{y} {cb} {cr}");
}

#[test]
fn every_format_gives_the_same_small_picture() {
    let image = quarters(1000, 562);
    let reference = small(&jpeg(&image), &CAPS).unwrap();
    let image = DynamicImage::ImageRgb8(image);
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let other = small(&encoded(&image, format), &CAPS).unwrap();
        assert_eq!((other.width, other.height), (320, 180));
        let off: u64 =
            other.luma.iter().zip(&reference.luma).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(off < 2 * 320 * 180, "{format:?} is {off} off");
    }
}
