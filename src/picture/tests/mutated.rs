//! Whatever is done to a picture's bytes, the answer is a picture or a reason. A few hundred mutations run
//! with the other tests; `VOD_COVER_FUZZ_MINUTES=10 tests/run -- mutated` runs for as long as it says, with
//! other mutations each time, and prints how many there were.

use std::cell::Cell;
use std::time::{Duration, Instant};

use image::ImageFormat;
use mozjpeg::ColorSpace;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::drawn::*;
use super::*;

/// So low that no mutation of a size can take long, and that most of them break a limit.
const TIGHT: Caps = Caps { bytes: 1 << 20, pixels: 1 << 18 };
const LIMITS: Limits = Limits { bytes: 2_000, width: 48, height: 48 };

#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Write(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
    /// Repeats a part.
    Repeat(Index, usize, usize),
    /// Takes the rest from another picture.
    Splice(Index, Index, Index),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // What formats take for lengths, sizes and markers.
    let telling = prop_oneof![
        Just(vec![0x00, 0x00]),
        Just(vec![0xff, 0xff]),
        Just(vec![0xff; 4]),
        Just(vec![0x7f, 0xff, 0xff, 0xff]),
        Just(vec![0x00, 0x00, 0x00, 0x01]),
        (0xc0u8..).prop_map(|marker| vec![0xff, marker]),
        proptest::collection::vec(any::<u8>(), 1..6),
    ];
    // The first bytes are headers, and more telling than the rest.
    let place = || any::<Index>();
    let one = prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        4 => (place(), telling.clone()).prop_map(|(at, bytes)| Mutation::Write(at, bytes)),
        2 => (place(), telling).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        2 => (place(), 1usize..40).prop_map(|(at, length)| Mutation::Remove(at, length)),
        1 => place().prop_map(Mutation::Cut),
        1 => (place(), 1usize..80, 1usize..300).prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        1 => (place(), place(), place()).prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
    ];
    proptest::collection::vec(one, 1..6)
}

fn mutated(seeds: &[Vec<u8>], seed: &Index, head: bool, mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = seed.get(seeds).clone();
    for mutation in mutations {
        let size = if head { bytes.len().min(128) } else { bytes.len() };
        let at = |index: &Index| index.index(size.max(1)).min(bytes.len());
        match mutation {
            Mutation::Flip(index, bits) => {
                let at = at(index);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            }
            Mutation::Write(index, new) => {
                let at = at(index);
                bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
            }
            Mutation::Insert(index, new) => {
                let at = at(index);
                bytes.splice(at..at, new.iter().copied());
            }
            Mutation::Remove(index, length) => {
                let at = at(index);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Mutation::Cut(index) => bytes.truncate(index.index(bytes.len().max(1))),
            Mutation::Repeat(index, length, times) => {
                let at = at(index);
                let part = bytes[at..(at + length).min(bytes.len())].repeat(*times);
                bytes.splice(at..at, part);
            }
            Mutation::Splice(index, other, from) => {
                let other = other.get(seeds);
                bytes.truncate(at(index));
                bytes.extend(&other[from.index(other.len())..]);
            }
        }
    }
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let image = quarters(70, 50);
    let mut seeds = vec![
        jpeg(&image),
        progressive(&image),
        grey(&image),
        plain_rgb(&image),
        cmyk(&image, ColorSpace::JCS_YCCK),
        progressive_cmyk(&image),
        turned_jpeg(&image, 6),
        with_segment(&jpeg(&image), 0xe2, &[&b"ICC_PROFILE\0\x01\x01"[..], &[7; 200]].concat()),
        png(image.clone()),
        png(disc(&image)),
        turned_png(&image, 5),
        encoded(image.clone(), ImageFormat::Gif),
        encoded(image.clone(), ImageFormat::WebP),
        encoded(disc(&image), ImageFormat::WebP),
    ];
    seeds.extend(VECTORS.map(|(_, bytes)| bytes.to_vec()));
    seeds
}

#[derive(Debug, Default)]
struct Tally {
    pictures: Cell<u64>,
    refused: Cell<u64>,
    /// Panics within a decoder, which are caught.
    given_up: Cell<u64>,
}

/// Everything that is promised of any bytes.
fn keeps_its_promises(bytes: &[u8], tally: &Tally) {
    let count = |what: &Cell<u64>| what.set(what.get() + 1);
    let known = facts(bytes, &TIGHT);
    match small(bytes, &TIGHT) {
        Ok(small) => {
            count(&tally.pictures);
            assert_eq!(known, Ok(small.facts));
            assert!(small.width > 0 && small.height > 0);
            assert!(small.width.max(small.height) <= LONGER_SIDE as usize);
            for plane in [&small.luma, &small.cb, &small.cr] {
                assert_eq!(plane.len(), small.width * small.height);
            }
        }
        Err(bad) => {
            count(&tally.refused);
            if bad.to_string().contains("gave up") {
                count(&tally.given_up);
            }
            assert!(known.is_ok() || known == Err(bad));
        }
    }
    if let Ok(conformed) = conform(bytes, &TIGHT, &LIMITS) {
        assert_eq!(satisfies(&conformed.facts, &LIMITS), Ok(()));
        assert_eq!(facts(&conformed.bytes, &TIGHT), Ok(conformed.facts));
        assert!(small(&conformed.bytes, &TIGHT).is_ok());
        assert_eq!(conformed.changed, conformed.bytes != bytes);
    }
}

#[test]
fn mutated_pictures_are_a_picture_or_a_reason() {
    let minutes =
        std::env::var("VOD_COVER_FUZZ_MINUTES").ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = seeds();
    let tally = Tally::default();
    let run = |cases| {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let strategy = (any::<Index>(), any::<bool>(), mutations());
        let result = TestRunner::new(config).run(&strategy, |(seed, head, mutations)| {
            keeps_its_promises(&mutated(&seeds, &seed, head, &mutations), &tally);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    };
    match minutes {
        None => run(400),
        Some(minutes) => {
            let end = Instant::now() + Duration::from_secs(minutes * 60);
            while Instant::now() < end {
                run(2_000);
            }
            println!("{tally:?}");
        }
    }
    assert!(tally.pictures.get() > 0 && tally.refused.get() > 0, "{tally:?}");
}
