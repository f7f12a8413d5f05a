//! What is no usable picture is refused for a reason that an operator can act on.

use image::ImageFormat;

use super::drawn::*;
use super::*;

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    small(bytes, &CAPS).unwrap_err().to_string()
}

#[test]
fn what_is_no_picture_is_named() {
    for (bytes, reason) in [
        (&b""[..], "it is empty"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE HTML><html></html>", "it is an HTML page, not a picture"),
        (b"<html><head><title>403</title>", "it is an HTML page, not a picture"),
        (
            b"<?xml version=\"1.0\"?>\n<Error>\n  <Code>NoSuchKey</Code></Error>",
            "it is an XML error document (NoSuchKey), not a picture",
        ),
        (b"<Error><Code><script></Code></Error>", "it is an XML document, not a picture"),
        (b"{\"Code\":\"Forbidden\"}", "it is a JSON document, not a picture"),
        (b"Not found", "it is text, not a picture"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "it is a video or sound file, not a picture"),
        (b"\x7fELF\x02\x01\x01\0", "it is data of an unknown kind, not a picture"),
    ] {
        assert_eq!(refused(bytes), reason);
        assert_eq!(facts(bytes, &CAPS).unwrap_err().to_string(), reason);
    }
    for bytes in
        [&b"BM\x36\0\0\0\0\0"[..], b"<svg xmlns=\"x\">", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"]
    {
        assert!(refused(bytes).contains("not supported; use a"), "{}", refused(bytes));
    }
}

#[test]
fn every_cut_of_a_jpeg_is_truncated() {
    let image = quarters(90, 70);
    for whole in [jpeg(&image), progressive(&image), grey(&image)] {
        for length in 3..whole.len() {
            let bad = small(&whole[..length], &CAPS).unwrap_err();
            assert_eq!(bad, BadPicture::Truncated(Format::Jpeg), "{length} of {}", whole.len());
        }
    }
}

#[test]
fn no_cut_of_another_format_passes_for_a_picture() {
    let image = quarters(90, 70);
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let whole = encoded(image.clone(), format);
        for length in 16..whole.len() - 24 {
            let bad = small(&whole[..length], &CAPS).unwrap_err();
            let said = matches!(bad, BadPicture::Truncated(_) | BadPicture::Broken(..));
            assert!(said, "{length} of {}: {bad}", whole.len());
        }
    }
}

/// Servers and browsers close a file that was cut off with an end marker.
#[test]
fn a_jpeg_that_ends_too_early_is_truncated() {
    let image = noise(200, 200);
    let whole = jpeg(&image);
    let cut = [&whole[..whole.len() / 2], &[0xff, 0xd9]].concat();
    assert_eq!(refused(&cut), "the JPEG is truncated");
}

#[test]
fn what_follows_the_end_of_a_jpeg_is_ignored() {
    let image = quarters(200, 100);
    for whole in [jpeg(&image), progressive(&image)] {
        let trailing = [&whole[..], &[0; 5000], &[0xff, 0xda].repeat(500), b"anything"].concat();
        let (mut a, b) = (small(&trailing, &CAPS).unwrap(), small(&whole, &CAPS).unwrap());
        a.facts.bytes = b.facts.bytes;
        assert_eq!(a, b);
    }
}

#[test]
fn corrupt_picture_data_is_broken() {
    let mut bytes = jpeg(&noise(200, 200));
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200].fill(0xaa);
    bytes[middle + 200..middle + 202].copy_from_slice(&[0xff, 0xd3]);
    let reason = refused(&bytes);
    assert!(reason.starts_with("the JPEG is "), "{reason}");
}

#[test]
fn what_libjpeg_says_of_a_broken_header_is_passed_on() {
    let mut bytes = jpeg(&quarters(32, 32));
    let table = bytes.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
    bytes[table + 4] = 7;
    assert_eq!(refused(&bytes), "the JPEG is broken: Bogus DQT index 7");
}

#[test]
fn kinds_of_jpeg_that_nobody_shows_are_named() {
    let plain = jpeg(&quarters(32, 32));
    let frame = plain.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let changed = |offset: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[frame + offset] = value;
        refused(&bytes)
    };
    assert!(changed(1, 0xc9).starts_with("it is a JPEG with arithmetic coding, which"));
    assert!(changed(1, 0xc3).starts_with("it is a lossless or hierarchical JPEG, which"));
    assert!(changed(4, 12).starts_with("it is a JPEG with more than 8 bits a channel, which"));
    let no_height = [&plain[..frame + 5], &[0, 0], &plain[frame + 7..]].concat();
    assert_eq!(refused(&no_height), "the JPEG is broken: it has 32x0 pixels");
}

#[test]
fn a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() {
    let whole = progressive(&quarters(64, 64));
    let scan = whole.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let end = whole.len() - 2;
    let mut bomb = whole[..end].to_vec();
    for _ in 0..1000 {
        bomb.extend(&whole[scan..end]);
    }
    bomb.extend([0xff, 0xd9]);
    assert!(refused(&bomb).starts_with("it is a JPEG of more than 100 scans"));
}

#[test]
fn caps_are_checked_by_the_header() {
    let reason = refused(&png_header(30_000, 30_000));
    assert_eq!(reason, "it has 30000x30000 pixels, and at most 40000000 in all are decoded");
    let mut huge = jpeg(&quarters(32, 32));
    let frame = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    huge[frame + 5..frame + 9].fill(0xff);
    assert!(refused(&huge).starts_with("it has 65535x65535 pixels"));
    let small_caps = Caps { bytes: 100, ..CAPS };
    let bad = facts(&jpeg(&quarters(32, 32)), &small_caps).unwrap_err();
    assert!(bad.to_string().ends_with("at most 100 are read"), "{bad}");
}

#[test]
fn a_profile_that_is_a_bomb_does_no_harm() {
    let bytes = profile_bomb();
    assert!(bytes.len() < 1 << 20);
    // Whether the picture is taken without its profile is the decoder's choice; memory.rs has the bound.
    match small(&bytes, &CAPS) {
        Ok(small) => assert_eq!((small.width, small.height), (64, 48)),
        Err(bad) => assert!(matches!(bad, BadPicture::Broken(..)), "{bad}"),
    }
}

#[test]
fn a_jpeg_with_large_profiles_is_read() {
    let mut bytes = jpeg(&quarters(64, 48));
    for _ in 0..40 {
        bytes = with_segment(&bytes, 0xe2, &[&b"ICC_PROFILE\0\x01\x28"[..], &[7; 65_000]].concat());
    }
    assert_eq!(small(&bytes, &CAPS).unwrap().width, 64);
}
