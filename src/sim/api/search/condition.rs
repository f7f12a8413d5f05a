//! The Match of SearchMedia: the part of the search protocol that asks for when a video was created, its
//! category and its status, joined by `and`. What is not understood is refused and never passed over.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/protocol-for-media-asset-search>

use std::ops::{Bound, RangeBounds};

use jiff::Timestamp;

use super::super::super::event::read_time;
use super::super::super::video::Video;

/// Holds where each of its tests does.
#[derive(Debug, PartialEq)]
pub(super) struct Condition(Vec<Test>);

#[derive(Debug, PartialEq)]
enum Test {
    Created(Bound<Timestamp>, Bound<Timestamp>),
    Category(i64),
    Status(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// What stood between single quotes.
    Text(&'a str),
    Sign(char),
}

use Token::{Sign, Text, Word};

impl Condition {
    /// `None` if it is not understood. Without text it holds always.
    pub fn read(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut tests = Vec::new();
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            if !tests.is_empty() {
                rest = rest.strip_prefix(&[Word("and")])?;
            }
            let test;
            (test, rest) = Test::read(rest)?;
            tests.push(test);
        }
        Some(Self(tests))
    }

    pub fn holds(&self, video: &Video) -> bool {
        self.0.iter().all(|test| match test {
            Test::Created(from, to) => (*from, *to).contains(&video.created),
            Test::Category(category) => video.category == Some(*category),
            Test::Status(some) => some.contains(&video.status),
        })
    }
}

impl Test {
    /// One test and what is behind it.
    fn read<'a, 'b>(tokens: &'b [Token<'a>]) -> Option<(Self, &'b [Token<'a>])> {
        match tokens {
            [
                Word("CreationTime"),
                Sign('='),
                Sign(open @ ('(' | '[')),
                Text(from),
                Sign(','),
                Text(to),
                Sign(close @ (')' | ']')),
                rest @ ..,
            ] => {
                let bound = |text, included| {
                    let at = read_time(text)?;
                    Some(if included { Bound::Included(at) } else { Bound::Excluded(at) })
                };
                Some((Self::Created(bound(from, *open == '[')?, bound(to, *close == ']')?), rest))
            }
            [Word("CateId"), Sign('='), Word(number), rest @ ..] => {
                Some((Self::Category(number.parse().ok()?), rest))
            }
            [Word("Status"), Sign('='), Text(one), rest @ ..] => {
                Some((Self::Status(vec![(*one).to_owned()]), rest))
            }
            [Word("Status"), Word("in"), Sign('('), rest @ ..] => {
                let (some, rest) = list(rest)?;
                Some((Self::Status(some), rest))
            }
            _ => None,
        }
    }
}

/// `'one','two')` and what is behind it.
fn list<'a, 'b>(mut tokens: &'b [Token<'a>]) -> Option<(Vec<String>, &'b [Token<'a>])> {
    let mut some = Vec::new();
    loop {
        match tokens {
            [Text(one), Sign(','), rest @ ..] => {
                some.push((*one).to_owned());
                tokens = rest;
            }
            [Text(one), Sign(')'), rest @ ..] => {
                some.push((*one).to_owned());
                return Some((some, rest));
            }
            _ => return None,
        }
    }
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token;
        (token, rest) = match first {
            '=' | '(' | ')' | '[' | ']' | ',' => (Sign(first), rest.split_at(1).1),
            '\'' => {
                let (inner, behind) = rest.split_at(1).1.split_once('\'')?;
                (Text(inner), behind)
            }
            _ => {
                let is_part = |c: char| c.is_ascii_alphanumeric();
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                (Word(Some(word).filter(|word| !word.is_empty())?), behind)
            }
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::super::super::super::video::NewVideo;
    use super::*;

    fn holds(text: &str, created: &str, category: Option<i64>, status: &str) -> bool {
        let created = Some(created.parse().unwrap());
        let status = status.to_owned();
        let new = NewVideo { created, category, status, ..NewVideo::default() };
        let video = Video::added("v".into(), 1, new, Timestamp::UNIX_EPOCH);
        Condition::read(text).unwrap().holds(&video)
    }

    #[test]
    fn the_documented_sample_is_understood() {
        let text = "Status in ('Normal','Checking') and \
                    CreationTime = ('2018-07-01T08:00:00Z','2018-08-01T08:00:00Z')";
        assert!(holds(text, "2018-07-15T00:00:00Z", None, "Checking"));
        assert!(!holds(text, "2018-07-15T00:00:00Z", None, "Blocked"));
        assert!(!holds(text, "2018-08-15T00:00:00Z", None, "Normal"));
        assert!(holds("", "2018-08-15T00:00:00Z", None, "Normal"));
        assert!(holds("Status = 'Normal' and CateId=7", "2018-08-15T00:00:00Z", Some(7), "Normal"));
        assert!(!holds("CateId = 7", "2018-08-15T00:00:00Z", None, "Normal"));
    }

    #[test]
    fn round_brackets_leave_the_end_out_and_square_ones_take_it_in() {
        let (from, to) = ("2018-07-01T08:00:00Z", "2018-08-01T08:00:00Z");
        for (open, close) in [('(', ')'), ('(', ']'), ('[', ')'), ('[', ']')] {
            let text = format!("CreationTime = {open}'{from}','{to}'{close}");
            assert_eq!(holds(&text, from, None, "Normal"), open == '[', "{text}");
            assert_eq!(holds(&text, to, None, "Normal"), close == ']', "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "Title = 'x'",
            "CateId = '7'",
            "CateId = 7 or CateId = 8",
            "CateId = 7 and",
            "and CateId = 7",
            "CateId = 7 CateId = 8",
            "Status in ()",
            "Status in ('Normal',)",
            "Status = Normal",
            "Status = 'Normal",
            "CreationTime = ('2018-07-01','2018-08-01')",
            "CreationTime = ('2018-07-01T08:00:00Z')",
            "CreationTime >= '2018-07-01T08:00:00Z'",
            "CateId = 7;",
            "状态 = 'Normal'",
        ] {
            assert_eq!(Condition::read(text), None, "{text}");
        }
    }
}
