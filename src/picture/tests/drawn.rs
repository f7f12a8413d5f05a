//! Pictures for tests, drawn and encoded in every way that the crates in the tree can write.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use mozjpeg::{ColorSpace, Compress};

/// Red, green, blue and grey quarters, each a little lighter to the right.
pub fn quarters(width: u32, height: u32) -> RgbImage {
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

pub fn noise(width: u32, height: u32) -> RgbImage {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; width as usize * height as usize * 3];
    random.fill(&mut bytes);
    RgbImage::from_raw(width, height, bytes).unwrap()
}

/// The picture in a disc; clear around it, with a soft edge.
pub fn disc(image: &RgbImage) -> RgbaImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    RgbaImage::from_fn(image.width(), image.height(), |x, y| {
        let (dx, dy) = (x as f32 - width / 2.0, y as f32 - height / 2.0);
        let away = (dx * dx + dy * dy).sqrt() - height * 0.4;
        let Rgb([r, g, b]) = *image.get_pixel(x, y);
        Rgba([r, g, b, (255.0 - away * 32.0).clamp(0.0, 255.0) as u8])
    })
}

pub fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

/// A baseline JPEG as cameras and VOD write them.
pub fn jpeg(image: &RgbImage) -> Vec<u8> {
    written(ColorSpace::JCS_RGB, image.dimensions(), image.as_raw(), |encoder| {
        encoder.set_fastest_defaults();
        encoder.set_quality(90.0);
        encoder.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
    })
}

pub fn progressive(image: &RgbImage) -> Vec<u8> {
    written(ColorSpace::JCS_RGB, image.dimensions(), image.as_raw(), |encoder| {
        encoder.set_fastest_defaults();
        encoder.set_progressive_mode();
        encoder.set_quality(90.0);
        encoder.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
    })
}

pub fn grey(image: &RgbImage) -> Vec<u8> {
    let grey = DynamicImage::from(image.clone()).into_luma8();
    written(ColorSpace::JCS_GRAYSCALE, grey.dimensions(), grey.as_raw(), |_| {})
}

/// Stored as RGB, without conversion to YCbCr.
pub fn plain_rgb(image: &RgbImage) -> Vec<u8> {
    written(ColorSpace::JCS_RGB, image.dimensions(), image.as_raw(), |encoder| {
        encoder.set_color_space(ColorSpace::JCS_RGB);
        encoder.set_quality(90.0);
    })
}

/// As Adobe's programs write it: inverted, in inks as they are or as YCCK.
pub fn cmyk(image: &RgbImage, stored: ColorSpace) -> Vec<u8> {
    written(ColorSpace::JCS_CMYK, image.dimensions(), &inks(image), |encoder| {
        encoder.set_fastest_defaults();
        encoder.set_color_space(stored);
        encoder.set_quality(95.0);
    })
}

/// All four inks at full resolution, in several scans: no JPEG takes more memory.
pub fn progressive_cmyk(image: &RgbImage) -> Vec<u8> {
    written(ColorSpace::JCS_CMYK, image.dimensions(), &inks(image), |encoder| {
        encoder.set_fastest_defaults();
        encoder.set_color_space(ColorSpace::JCS_CMYK);
        encoder.set_progressive_mode();
    })
}

fn inks(image: &RgbImage) -> Vec<u8> {
    let inks = |pixel: &Rgb<u8>| {
        let black = pixel.0.into_iter().max().unwrap().max(1);
        let ink = |light: u8| (u16::from(light) * 255 / u16::from(black)) as u8;
        [ink(pixel.0[0]), ink(pixel.0[1]), ink(pixel.0[2]), black]
    };
    image.pixels().flat_map(inks).collect()
}

fn written(
    given: ColorSpace,
    (width, height): (u32, u32),
    pixels: &[u8],
    set: impl FnOnce(&mut Compress),
) -> Vec<u8> {
    let mut encoder = Compress::new(given);
    encoder.set_size(width as usize, height as usize);
    set(&mut encoder);
    let mut encoder = encoder.start_compress(Vec::new()).unwrap();
    encoder.write_scanlines(pixels).unwrap();
    encoder.finish().unwrap()
}

/// A JPEG with a segment put behind its first marker.
pub fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

/// EXIF that says nothing but the orientation.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
    tiff[19] = orientation;
    tiff
}

pub fn turned_jpeg(image: &RgbImage, orientation: u8) -> Vec<u8> {
    with_segment(&jpeg(image), 0xe1, &[b"Exif\0\0", &exif(orientation)[..]].concat())
}

pub fn turned_png(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    DynamicImage::from(image.clone()).write_with_encoder(encoder).unwrap();
    bytes
}

/// A PNG that ends where its pixels would begin.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(::png::ColorType::Rgba);
    encoder.set_depth(::png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(::png::chunk::IDAT, &[]).unwrap();
    drop(writer);
    bytes
}

/// A small PNG whose ICC profile unpacks to many times its size.
pub fn profile_bomb() -> Vec<u8> {
    let mut info = ::png::Info::with_size(64, 48);
    info.icc_profile = Some(vec![0; 32 << 20].into());
    let mut bytes = Vec::new();
    let encoder = ::png::Encoder::with_info(&mut bytes, info).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[90; 64 * 48]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Written by FFmpeg: 64x48, RGB (200, 30, 30) on the left and (30, 30, 200) on the right. Animated ones
/// have a second frame in green.
pub const VECTORS: [(&str, &[u8]); 7] = [
    ("baseline.jpg", include_bytes!("../../../tests/vectors/baseline.jpg")),
    ("paletted.png", include_bytes!("../../../tests/vectors/paletted.png")),
    ("sixteen.png", include_bytes!("../../../tests/vectors/sixteen.png")),
    ("animated.png", include_bytes!("../../../tests/vectors/animated.png")),
    ("animated.gif", include_bytes!("../../../tests/vectors/animated.gif")),
    ("lossy.webp", include_bytes!("../../../tests/vectors/lossy.webp")),
    ("animated.webp", include_bytes!("../../../tests/vectors/animated.webp")),
];
