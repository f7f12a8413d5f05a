//! What bytes are, by how they begin. What is no picture is named, because that is what an operator has to
//! find out: an error page instead of a picture is the most frequent case.

use image::ImageFormat;

use super::{BadPicture, Format};

/// How much of the beginning is looked at.
const HEAD: usize = 1024;

pub(super) fn format(bytes: &[u8]) -> Result<Format, BadPicture> {
    if bytes.is_empty() {
        return Err(BadPicture::Empty);
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
        Ok(ImageFormat::Png) => Ok(Format::Png),
        Ok(ImageFormat::Gif) => Ok(Format::Gif),
        Ok(ImageFormat::WebP) => Ok(Format::WebP),
        Ok(other) => Err(BadPicture::Unsupported(format!("a picture of type {other:?}"))),
        Err(_) => Err(stranger(bytes)),
    }
}

fn stranger(bytes: &[u8]) -> BadPicture {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    let lower = text.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let brands = head.get(8..head.len().min(40)).unwrap_or_default();
    if begins(&["<!doctype html", "<html", "<head", "<body", "<script"]) {
        return BadPicture::NotAPicture("an HTML page".into());
    }
    if begins(&["<svg"]) || (begins(&["<?xml", "<!--"]) && lower.contains("<svg")) {
        return BadPicture::Unsupported("an SVG drawing".into());
    }
    if begins(&["<?xml", "<error"]) {
        return BadPicture::NotAPicture(match error_code(text) {
            Some(code) => format!("an XML error document ({code})"),
            None => "an XML document".into(),
        });
    }
    if begins(&["{", "["]) {
        return BadPicture::NotAPicture("a JSON document".into());
    }
    if head.get(4..8) == Some(b"ftyp") {
        return match brands
            .chunks(4)
            .any(|brand| [b"heic", b"heix", b"mif1"].iter().any(|b| *b == brand))
        {
            true => BadPicture::Unsupported("an HEIF picture".into()),
            false => BadPicture::NotAPicture("a video or sound file".into()),
        };
    }
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    BadPicture::NotAPicture(match head.iter().all(printable) && std::str::from_utf8(head).is_ok() {
        true => "text".into(),
        false => "data of an unknown kind".into(),
    })
}

/// The `Code` of an error document of OSS, such as `NoSuchKey`.
/// <https://www.alibabacloud.com/help/en/oss/developer-reference/error-responses>
fn error_code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (code.len() <= 64 && code.chars().all(plain)).then_some(code)
}
