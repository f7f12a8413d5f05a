//! Every kind of picture is found by its content, and looks the same when it is reduced.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mozjpeg::ColorSpace;

use super::drawn::*;
use super::*;

/// Luma, Cb and Cr at a place given in parts of the width and the height.
fn at(small: &Small, x: f32, y: f32) -> [u8; 3] {
    let (x, y) = ((small.width as f32 * x) as usize, (small.height as f32 * y) as usize);
    let at = y * small.width + x;
    [small.luma[at], small.cb[at], small.cr[at]]
}

#[track_caller]
fn near(found: [u8; 3], wanted: [u8; 3], tolerance: u8) {
    let off = found.iter().zip(wanted).any(|(a, b)| a.abs_diff(b) > tolerance);
    assert!(!off, "{found:?} instead of {wanted:?}");
}

fn mean_difference(a: &Small, b: &Small) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let planes = [(&a.luma, &b.luma), (&a.cb, &b.cb), (&a.cr, &b.cr)];
    let off = |(a, b): (&Vec<u8>, &Vec<u8>)| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    };
    planes.into_iter().map(off).fold(0.0, f64::max)
}

#[test]
fn the_planes_of_a_jpeg_are_small_and_of_its_colours() {
    let small = small(&jpeg(&quarters(1280, 720)), &CAPS).unwrap();
    assert_eq!((small.facts.width, small.facts.height), (1280, 720));
    assert_eq!((small.width, small.height), (320, 180));
    for plane in [&small.luma, &small.cb, &small.cr] {
        assert_eq!(plane.len(), 320 * 180);
    }
    // RGB (10, 10, 160), by JFIF's formula.
    near(at(&small, 0.25, 0.75), [27, 203, 116], 3);
}

#[test]
fn every_format_and_kind_of_jpeg_gives_the_same_small_picture() {
    let image = quarters(1000, 562);
    let reference = small(&png(image.clone()), &CAPS).unwrap();
    for (name, bytes) in [
        ("baseline", jpeg(&image)),
        ("progressive", progressive(&image)),
        ("plain RGB", plain_rgb(&image)),
        ("CMYK", cmyk(&image, ColorSpace::JCS_CMYK)),
        ("YCCK", cmyk(&image, ColorSpace::JCS_YCCK)),
        ("WebP", encoded(image.clone(), ImageFormat::WebP)),
        ("GIF", encoded(image.clone(), ImageFormat::Gif)),
        ("16-bit PNG", png(DynamicImage::from(image.clone()).into_rgb16())),
        ("alpha PNG", png(DynamicImage::from(image.clone()).into_rgba16())),
    ] {
        let other = small(&bytes, &CAPS).unwrap();
        let off = mean_difference(&reference, &other);
        assert!(off < 1.5, "{name} is {off} off");
    }
    let grey = small(&grey(&image), &CAPS).unwrap();
    assert!(grey.cb.iter().chain(&grey.cr).all(|chroma| *chroma == 128));
    // The `image` crate makes grey by BT.709.
    near(at(&grey, 0.25, 0.75), [21, 128, 128], 3);
}

#[test]
fn pictures_by_another_encoder_are_read_and_of_animations_the_first_frame() {
    for (name, bytes) in VECTORS {
        let small = small(bytes, &CAPS).unwrap();
        assert_eq!((small.width, small.height), (64, 48), "{name}");
        assert_eq!(small.facts, facts(bytes, &CAPS).unwrap(), "{name}");
        // JFIF's formula again.
        near(at(&small, 0.2, 0.5), [81, 99, 213], 3);
        near(at(&small, 0.8, 0.5), [49, 213, 114], 3);
    }
}

#[test]
fn the_format_is_found_by_content() {
    let image = quarters(20, 10);
    for (format, bytes, extension) in [
        (Format::Jpeg, jpeg(&image), "jpg"),
        (Format::Png, png(image.clone()), "png"),
        (Format::Gif, encoded(image.clone(), ImageFormat::Gif), "gif"),
        (Format::WebP, encoded(image.clone(), ImageFormat::WebP), "webp"),
    ] {
        let found = facts(&bytes, &CAPS).unwrap();
        assert_eq!(found, Facts { format, bytes: bytes.len(), width: 20, height: 10 });
        assert_eq!(found.format.extension(), extension);
    }
}

#[test]
fn pictures_are_seen_as_they_are_displayed() {
    // The red quarter is stored in the upper left; where each EXIF orientation shows it.
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    let image = quarters(400, 240);
    for (orientation, corner) in (1..).zip(corners) {
        for bytes in [turned_jpeg(&image, orientation), turned_png(&image, orientation)] {
            let small = small(&bytes, &CAPS).unwrap();
            let upright = orientation < 5;
            let size = (small.facts.width, small.facts.height);
            assert_eq!(size, if upright { (400, 240) } else { (240, 400) }, "{orientation}");
            assert_eq!((small.width, small.height), if upright { (320, 192) } else { (192, 320) });
            assert_eq!(small.facts, facts(&bytes, &CAPS).unwrap());
            for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let red = at(&small, 0.25 + 0.5 * x as f32, 0.25 + 0.5 * y as f32)[2] > 180;
                assert_eq!(red, (x, y) == corner, "{orientation} at {x} {y}");
            }
        }
    }
}

#[test]
fn transparency_is_seen_over_black() {
    let small = small(&png(disc(&quarters(400, 400))), &CAPS).unwrap();
    near(at(&small, 0.01, 0.01), [0, 128, 128], 0);
    near(at(&small, 0.4, 0.4), [74, 95, 219], 8);
}

#[test]
fn the_longer_side_is_reduced_exactly_and_never_enlarged() {
    for (given, wanted) in [
        ((1, 1), (1, 1)),
        ((319, 200), (319, 200)),
        ((320, 180), (320, 180)),
        ((321, 180), (320, 179)),
        ((365, 200), (320, 175)),
        ((366, 1), (320, 1)),
        ((1, 3000), (1, 320)),
        ((1920, 1080), (320, 180)),
        ((1080, 1920), (180, 320)),
        ((2559, 1439), (320, 180)),
    ] {
        let image = RgbImage::from_pixel(given.0, given.1, Rgb([90, 90, 90]));
        for bytes in [jpeg(&image), progressive(&image), png(image.clone())] {
            let small = small(&bytes, &CAPS).unwrap();
            assert_eq!((small.width, small.height), wanted, "{given:?}");
            assert_eq!(small.luma.len(), small.width * small.height);
        }
    }
}

#[test]
fn reducing_keeps_the_mean() {
    let image = noise(487, 331);
    let mean =
        |bytes: &[u8]| bytes.iter().map(|byte| f64::from(*byte)).sum::<f64>() / bytes.len() as f64;
    let luma = DynamicImage::from(image.clone()).into_luma8();
    let small = small(&png(luma.clone()), &CAPS).unwrap();
    let (before, after) = (mean(luma.as_raw()), mean(&small.luma));
    assert!((before - after).abs() < 0.2, "{before} became {after}");
}
