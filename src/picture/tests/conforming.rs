//! Conformed pictures satisfy every limit, and look as good as the limits allow.

use image::{DynamicImage, ImageFormat, RgbImage};
use mozjpeg::ColorSpace;

use super::drawn::*;
use super::*;

/// VOD's, and smaller ones that cost less time.
const LIMITS: Limits = Limits { bytes: 1_000_000, width: 1920, height: 1080 };
const TINY: Limits = Limits { bytes: 50_000, width: 320, height: 180 };

#[track_caller]
fn conformed(bytes: &[u8], limits: &Limits) -> Conformed {
    let conformed = conform(bytes, &CAPS, limits).unwrap();
    assert_eq!(satisfies(&conformed.facts, limits), Ok(()));
    assert_eq!(facts(&conformed.bytes, &CAPS).unwrap(), conformed.facts);
    small(&conformed.bytes, &CAPS).unwrap();
    conformed
}

fn decoded(bytes: &[u8]) -> DynamicImage {
    image::load_from_memory(bytes).unwrap()
}

/// Waves that get finer to the right, lines and letters' hard edges.
fn detailed(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let wave = ((u * u * 250.0).sin() * (v * 40.0).cos() * 60.0 + 120.0) as u8;
        let line = (x / 12 + y / 9) % 11 == 0;
        image::Rgb(if line { [250, 240, 60] } else { [wave, (u * 200.0) as u8, 255 - wave] })
    })
}

/// Averages blocks of light, with sRGB's own formula: an oracle of its own, where the factor is whole.
fn averaged(image: &RgbImage, factor: u32) -> RgbImage {
    let light = |byte: u8| match f64::from(byte) / 255.0 {
        low if low <= 0.04045 => low / 12.92,
        high => ((high + 0.055) / 1.055).powf(2.4),
    };
    let byte = |light: f64| match light {
        low if low <= 0.0031308 => low * 12.92,
        high => 1.055 * high.powf(1.0 / 2.4) - 0.055,
    };
    RgbImage::from_fn(image.width() / factor, image.height() / factor, |x, y| {
        let mut sums = [0.0; 3];
        for (dx, dy) in (0..factor * factor).map(|at| (at % factor, at / factor)) {
            let pixel = image.get_pixel(x * factor + dx, y * factor + dy);
            sums.iter_mut().zip(pixel.0).for_each(|(sum, channel)| *sum += light(channel));
        }
        let mean = sums.map(|sum| sum / f64::from(factor * factor));
        image::Rgb(mean.map(|mean| (byte(mean) * 255.0).round() as u8))
    })
}

/// Peak signal-to-noise ratio in dB.
fn psnr(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    10.0 * (255.0f64.powi(2) / (squares.sum::<f64>() / a.as_raw().len() as f64)).log10()
}

#[test]
fn a_picture_that_satisfies_the_limits_is_left_alone() {
    let image = quarters(640, 360);
    for bytes in
        [jpeg(&image), progressive(&image), png(image.clone()), cmyk(&image, ColorSpace::JCS_YCCK)]
    {
        let conformed = conformed(&bytes, &LIMITS);
        assert!(!conformed.changed);
        assert!(conformed.bytes == bytes);
    }
}

#[test]
fn what_breaks_the_limits_is_said() {
    let facts = |format, bytes, width, height| Facts { format, bytes, width, height };
    for (facts, wrong) in [
        (facts(Format::Gif, 1, 1, 1), "it is a GIF, and only JPEG and PNG are allowed"),
        (facts(Format::Png, 1_000_001, 1, 1), "it has 1000001 bytes, and 1000000 are allowed"),
        (facts(Format::Jpeg, 1, 1921, 1), "it has 1921x1 pixels, and 1920x1080 are allowed"),
        (facts(Format::Jpeg, 1, 1080, 1920), "it has 1080x1920 pixels, and 1920x1080 are allowed"),
    ] {
        assert_eq!(satisfies(&facts, &LIMITS).unwrap_err(), wrong);
    }
}

#[test]
fn a_broken_picture_is_refused_even_if_it_satisfies_the_limits() {
    let whole = jpeg(&quarters(640, 360));
    let bad = conform(&whole[..whole.len() / 2], &CAPS, &LIMITS).unwrap_err();
    assert_eq!(bad, BadPicture::Truncated(Format::Jpeg));
}

#[test]
fn four_k_noise_satisfies_every_limit() {
    let conformed = conformed(&png(noise(3840, 2160)), &LIMITS);
    assert!(conformed.changed);
    assert_eq!(conformed.facts.format, Format::Jpeg);
    assert!(conformed.facts.bytes > 900_000, "{:?}", conformed.facts);
}

#[test]
fn what_does_not_fit_is_made_smaller_but_no_smaller_than_it_must_be() {
    let limits = Limits { bytes: 6_000, ..TINY };
    let conformed = conformed(&png(noise(320, 180)), &limits);
    assert!(conformed.facts.width < 320 && conformed.facts.bytes > 4_000, "{:?}", conformed.facts);
}

#[test]
fn a_reduced_picture_keeps_its_detail() {
    let image = detailed(640, 360);
    let wanted = averaged(&image, 2);
    for bytes in [png(image.clone()), progressive(&image)] {
        let conformed = conformed(&bytes, &TINY);
        let size = (conformed.facts.width, conformed.facts.height);
        assert_eq!((size, conformed.facts.format), ((320, 180), Format::Jpeg));
        let near = psnr(&decoded(&conformed.bytes).into_rgb8(), &wanted);
        assert!(near > 30.0, "{near} dB");
    }
}

#[test]
fn the_highest_quality_that_fits_is_taken() {
    let image = detailed(960, 540);
    let bytes = png(image.clone());
    let mut last = 0.0;
    for most in [60_000, 70_000, 80_000] {
        let conformed = conformed(&bytes, &Limits { bytes: most, ..LIMITS });
        assert_eq!(conformed.facts.width, 960);
        assert!(conformed.facts.bytes > most * 9 / 10, "{} of {most}", conformed.facts.bytes);
        let near = psnr(&decoded(&conformed.bytes).into_rgb8(), &image);
        assert!(near > last, "{near} dB with {most} bytes, {last} with less");
        last = near;
    }
}

#[test]
fn pictures_are_fitted_into_the_box_and_never_enlarged() {
    for (given, wanted) in [
        ((400, 100), (320, 80)),
        ((200, 400), (90, 180)),
        ((500, 500), (180, 180)),
        ((5000, 1), (320, 1)),
        ((1, 5000), (1, 180)),
    ] {
        let conformed = conformed(&png(quarters(given.0, given.1)), &TINY);
        assert_eq!((conformed.facts.width, conformed.facts.height), wanted, "{given:?}");
    }
    let gif = encoded(quarters(200, 100), ImageFormat::Gif);
    let conformed = conformed(&gif, &LIMITS);
    assert_eq!((conformed.facts.width, conformed.facts.format), (200, Format::Jpeg));
}

#[test]
fn turned_pictures_are_put_upright_and_say_so_no_more() {
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    let image = quarters(480, 240);
    for (orientation, corner) in (1..).zip(corners) {
        for bytes in [turned_jpeg(&image, orientation), turned_png(&image, orientation)] {
            let conformed = conformed(&bytes, &LIMITS);
            assert_eq!(conformed.changed, orientation != 1);
            if !conformed.changed {
                continue;
            }
            assert!(!conformed.bytes.windows(4).any(|four| four == b"Exif"));
            let picture = decoded(&conformed.bytes).into_rgb8();
            for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let place = |part: u32, side: u32| side / 4 + part * side / 2;
                let pixel =
                    picture.get_pixel(place(x, picture.width()), place(y, picture.height()));
                let red = pixel.0[0] > 170 && pixel.0[1] < 60;
                assert_eq!(red, (x, y) == corner, "{orientation} at {x} {y}: {pixel:?}");
            }
        }
    }
}

#[test]
fn transparency_is_kept_where_it_fits() {
    let conformed = conformed(&png(disc(&quarters(600, 350))), &TINY);
    assert_eq!((conformed.facts.format, conformed.facts.height), (Format::Png, 180));
    let picture = decoded(&conformed.bytes).into_rgba8();
    assert_eq!(picture.get_pixel(2, 2).0[3], 0);
    assert_eq!(picture.get_pixel(picture.width() / 2, 90).0[3], 255);
    // The colours of the edge are the disc's, not mixed with what cannot be seen.
    let edge = picture.pixels().filter(|pixel| (64..192).contains(&pixel.0[3]));
    assert!(edge.clone().count() > 50);
    assert!(edge.clone().all(|pixel| pixel.0[..3].iter().any(|channel| *channel > 90)));
}

#[test]
fn transparency_that_does_not_fit_is_put_over_black() {
    let conformed = conformed(&png(disc(&noise(320, 180))), &Limits { bytes: 15_000, ..TINY });
    assert_eq!(conformed.facts.format, Format::Jpeg);
    let picture = decoded(&conformed.bytes).into_rgb8();
    assert!(picture.get_pixel(2, 2).0.iter().all(|channel| *channel < 16));
}

#[test]
fn an_alpha_channel_that_hides_nothing_is_dropped() {
    let opaque = DynamicImage::from(quarters(480, 350)).into_rgba16();
    assert_eq!(conformed(&png(opaque), &TINY).facts.format, Format::Jpeg);
}

#[test]
fn a_small_profile_for_rgb_is_kept_and_any_other_dropped() {
    let image = quarters(480, 120);
    let profile = |space: &[u8; 4], length: usize| {
        let mut profile = vec![1; length];
        profile[16..20].copy_from_slice(space);
        [&b"ICC_PROFILE\0\x01\x01"[..], &profile].concat()
    };
    for (profile, kept) in [
        (profile(b"RGB ", 600), true),
        (profile(b"GRAY", 600), false),
        (profile(b"RGB ", 65_400), false),
    ] {
        let given = with_segment(&jpeg(&image), 0xe2, &profile);
        let conformed = conformed(&given, &TINY);
        let found = conformed.bytes.windows(profile.len()).any(|window| window == profile);
        assert_eq!(found, kept);
    }
}

#[test]
fn limits_that_nothing_fits_are_an_error() {
    let bad = conform(&png(noise(300, 300)), &CAPS, &Limits { bytes: 300, ..LIMITS }).unwrap_err();
    assert_eq!(bad, BadPicture::Unfit(300));
}
