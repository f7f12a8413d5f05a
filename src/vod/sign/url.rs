//! URL signing of pictures: the `auth_key` of the account's domains, types A, B and C. Pure: the time,
//! the random part and the key are arguments. A signed URL is for fetching at once and never becomes a
//! CoverURL, because it expires.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/configure-url-signing>; type C is
//! on <https://www.alibabacloud.com/help/en/dcdn/user-guide/type-c-signing>.

use std::fmt;

use ::url::Url;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use md5::{Digest, Md5};
use serde::Deserialize;

use super::hex;

/// The signing types. Which one it is, and the key, is set on the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `/path?auth_key={seconds}-{rand}-{uid}-{md5}`
    A,
    /// `/{YYYYMMDDHHMM}/{md5}/path`, the time in UTC+8.
    B,
    /// Type B with decimal Unix seconds: VOD's page describes the one and shows the other.
    BDecimal,
    /// `/{md5}/{hexadecimal seconds}/path`
    C,
    /// `/path?KEY1={md5}&KEY2={hexadecimal seconds}`
    CQuery,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::BDecimal => "B (decimal)",
            Self::C => "C",
            Self::CQuery => "C (query)",
        })
    }
}

/// What makes one signature differ from the next.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// From now on the URL works for as long as the domain's settings say.
    pub at: Timestamp,
    /// Only for type A: `0`, or a UUID without hyphens.
    pub rand: &'a str,
    /// Only for type A: `0`.
    pub uid: &'a str,
}

/// The signed form of a URL. It is the path as it is sent, percent-encoded, that is signed. A query is
/// replaced, as none is signed.
pub fn sign(kind: Kind, url: &Url, key: &str, stamp: &Stamp<'_>) -> Url {
    let path = url.path();
    let seconds = stamp.at.as_second();
    let (path, query) = match kind {
        Kind::A => {
            let head = format!("{seconds}-{}-{}", stamp.rand, stamp.uid);
            let digest = md5(&format!("{path}-{head}-{key}"));
            (path.to_owned(), Some(format!("auth_key={head}-{digest}")))
        }
        Kind::B | Kind::BDecimal => {
            let time = match kind {
                Kind::BDecimal => seconds.to_string(),
                _ => minutes(stamp.at),
            };
            (format!("/{time}/{}{path}", md5(&format!("{key}{time}{path}"))), None)
        }
        Kind::C | Kind::CQuery => {
            let time = format!("{seconds:x}");
            let digest = md5(&format!("{key}{path}{time}"));
            match kind {
                Kind::CQuery => (path.to_owned(), Some(format!("KEY1={digest}&KEY2={time}"))),
                _ => (format!("/{digest}/{time}{path}"), None),
            }
        }
    };
    let mut signed = url.clone();
    signed.set_path(&path);
    signed.set_query(query.as_deref());
    signed
}

/// `202108010000`: the clock of China, whatever this machine's is.
fn minutes(at: Timestamp) -> String {
    let china = TimeZone::fixed(Offset::constant(8));
    at.to_zoned(china).strftime("%Y%m%d%H%M").to_string()
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(kind: Kind, url: &str, key: &str, seconds: i64) -> String {
        let stamp =
            Stamp { at: Timestamp::from_second(seconds).expect("a time"), rand: "0", uid: "0" };
        sign(kind, &Url::parse(url).expect("a URL"), key, &stamp).to_string()
    }

    /// The picture, key and time of VOD's own examples.
    fn example(kind: Kind) -> String {
        let url = "http://example.aliyundoc.com/video/standard/test.mp4";
        signed(kind, url, "aliyunvodexp1234", 1_627_747_200)
    }

    #[test]
    fn type_a_is_that_of_the_documentation() {
        let url = "http://cdn.example.com/video/standard/1K.html";
        assert_eq!(
            signed(Kind::A, url, "aliyuncdnexp1234", 1_444_435_200),
            format!("{url}?auth_key=1444435200-0-0-80cd3862d699b7118eed99103f2a3a4f")
        );
        assert_eq!(
            example(Kind::A),
            "http://example.aliyundoc.com/video/standard/test.mp4\
             ?auth_key=1627747200-0-0-0e9048c8c7de46b6015618f42de79bc2"
        );
    }

    #[test]
    fn type_b_takes_the_minute_in_china_or_decimal_seconds() {
        assert_eq!(
            example(Kind::B),
            "http://example.aliyundoc.com/202108010000/61c232c4b7ab429fd578207629617bd7\
             /video/standard/test.mp4"
        );
        assert_eq!(
            example(Kind::BDecimal),
            "http://example.aliyundoc.com/1627747200/7069463ecbd2ff9b886ef564b9431fb0\
             /video/standard/test.mp4"
        );
    }

    #[test]
    fn type_c_goes_into_the_path_or_the_query() {
        assert_eq!(
            example(Kind::C),
            "http://example.aliyundoc.com/6eb48814d66e1e4e56cbeafae4cafc9e/61057380\
             /video/standard/test.mp4"
        );
        assert_eq!(
            example(Kind::CQuery),
            "http://example.aliyundoc.com/video/standard/test.mp4\
             ?KEY1=6eb48814d66e1e4e56cbeafae4cafc9e&KEY2=61057380"
        );
    }

    #[test]
    fn the_encoded_path_is_signed_and_sent() {
        let (plain, encoded) = ("http://h/封 面%20.jpg", "http://h/%E5%B0%81%20%E9%9D%A2%20.jpg");
        for kind in [Kind::A, Kind::B, Kind::C] {
            let signed_at = |url| signed(kind, url, "aliyunvodexp1234", 1_627_747_200);
            assert_eq!(signed_at(plain), signed_at(encoded));
            assert!(signed_at(plain).contains("/%E5%B0%81%20%E9%9D%A2%20.jpg"));
        }
        // md5("/%E5%B0%81%20%E9%9D%A2%20.jpg-1627747200-0-0-aliyunvodexp1234") by coreutils.
        assert!(
            signed(Kind::A, plain, "aliyunvodexp1234", 1_627_747_200)
                .ends_with("b46098f7d4d7c0e6aba15383e9d1f05c")
        );
    }

    #[test]
    fn a_query_and_a_port_are_dealt_with() {
        let url = signed(Kind::C, "http://h:8800/a.jpg?auth_key=old", "k", 1);
        assert!(url.starts_with("http://h:8800/") && url.ends_with("/1/a.jpg"), "{url}");
    }
}
