//! Draws the pictures: small landscapes with a sun and a subject, each the same for the same video and
//! number. They fail in the ways that real snapshots do: the first one is often black, a fade-in or a title,
//! and the one in the middle is sometimes blurred, black, flat or colour bars, so that choosing well can be
//! told from choosing badly.

use std::io;

use mozjpeg::{ColorSpace, Compress};

use super::video::{Picture, mix};

pub(super) const WIDTH: u32 = 640;
pub(super) const HEIGHT: u32 = 360;

const QUALITY: f32 = 85.0;

type Colour = [f32; 3];

/// What is wrong with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    Black,
    /// Over-exposed beyond recognition.
    White,
    /// A title: lines of text on one colour.
    Card,
    /// The colour bars of a test picture.
    Bars,
    /// A fade from black: everything is there, but dark.
    Dark,
    /// Out of focus.
    Blurred,
    /// Hardly any contrast.
    Flat,
}

impl Flaw {
    /// `None` for a picture that is all right.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Black => Some("black"),
            Self::White => Some("white"),
            Self::Card => Some("card"),
            Self::Bars => Some("bars"),
            Self::Dark => Some("dark"),
            Self::Blurred => Some("blurred"),
            Self::Flat => Some("flat"),
        }
    }
}

/// A picture as JPEG. Smart thumbnails, which VOD gives out as png and gif, are JPEG as well: no reader
/// goes by the name. Takes some milliseconds of processor time.
pub(super) fn jpeg(video: u64, snapshots: u8, picture: Picture) -> io::Result<Vec<u8>> {
    match picture {
        Picture::Snapshot(number) => {
            let scene = Scene::snapshot(video, number, snapshots);
            encoded(|x, y| scene.pixel(x as f32, y as f32))
        }
        Picture::Smart(number) => {
            // Between the snapshots, so that it is none of them.
            let scene = Scene::new(video, 2 * number, 2 * snapshots.max(number) + 1, Flaw::None);
            encoded(|x, y| scene.pixel(x as f32, y as f32))
        }
        // A sheet of four by four small pictures.
        Picture::Sprite => {
            let number = |tile: u8| tile % snapshots.max(1) + 1;
            let scenes: Vec<_> =
                (0..16).map(|tile| Scene::snapshot(video, number(tile), snapshots)).collect();
            encoded(|x, y| {
                let tile = (y * 4 / HEIGHT) * 4 + x * 4 / WIDTH;
                let within = (x * 4 % WIDTH, y * 4 % HEIGHT);
                scenes[tile as usize].pixel(within.0 as f32, within.1 as f32)
            })
        }
    }
}

/// Draws every second pixel of every second line, and doubles it both ways: pictures are made while a test
/// waits for them, by code that is not optimised.
fn encoded(pixel: impl Fn(u32, u32) -> [u8; 3]) -> io::Result<Vec<u8>> {
    let mut jpeg = Compress::new(ColorSpace::JCS_RGB);
    jpeg.set_fastest_defaults();
    jpeg.set_size(WIDTH as usize, HEIGHT as usize);
    jpeg.set_quality(QUALITY);
    let mut jpeg = jpeg.start_compress(Vec::with_capacity(64 * 1024))?;
    let mut row = Vec::with_capacity(WIDTH as usize * 3);
    for y in (0..HEIGHT).step_by(2) {
        row.clear();
        for x in (0..WIDTH).step_by(2) {
            let colour = pixel(x, y);
            row.extend_from_slice(&colour);
            row.extend_from_slice(&colour);
        }
        jpeg.write_scanlines(&row)?;
        jpeg.write_scanlines(&row)?;
    }
    jpeg.finish()
}

struct Scene {
    sky: [Colour; 2],
    ground: Colour,
    sun: Disc,
    subject: Disc,
    /// Height of the hills above the horizon, and where they begin.
    hills: (f32, f32),
    grain: u64,
    /// Width of an edge, in pixels.
    softness: f32,
    flaw: Flaw,
}

struct Disc {
    centre: (f32, f32),
    radius: f32,
    colour: Colour,
}

impl Scene {
    fn snapshot(video: u64, number: u8, snapshots: u8) -> Self {
        Self::new(video, number, snapshots, flaw(video, number, snapshots))
    }

    /// The palette is the video's; the sun and the subject move from picture to picture.
    fn new(video: u64, number: u8, count: u8, flaw: Flaw) -> Self {
        let mut random = fastrand::Rng::with_seed(mix(video));
        let mut colour =
            |low: f32, high: f32| -> Colour { [0; 3].map(|_| low + (high - low) * random.f32()) };
        let sky = [colour(40.0, 150.0), colour(150.0, 255.0)];
        let (ground, subject) = (colour(20.0, 130.0), colour(60.0, 255.0));
        let progress = (f32::from(number) - 0.5) / f32::from(count.max(1));
        let (width, height) = (WIDTH as f32, HEIGHT as f32);
        let sway = random.f32();
        Self {
            sky,
            ground,
            sun: Disc {
                centre: (width * progress, height * (0.42 - 0.3 * (progress * 3.1).sin())),
                radius: 28.0 + 20.0 * random.f32(),
                colour: [255.0, 240.0, 180.0],
            },
            subject: Disc {
                centre: (width * (0.3 + 0.4 * (progress + sway).fract()), height * 0.66),
                radius: 50.0 + 40.0 * random.f32(),
                colour: subject,
            },
            hills: (18.0 + 40.0 * random.f32(), 6.0 * random.f32()),
            grain: mix(video ^ u64::from(number)),
            softness: if flaw == Flaw::Blurred { 90.0 } else { 1.5 },
            flaw,
        }
    }

    fn pixel(&self, x: f32, y: f32) -> [u8; 3] {
        let mut colour = self.colour(x, y);
        match self.flaw {
            Flaw::Black => colour = [4.0; 3],
            Flaw::White => colour = colour.map(|value| 250.0 + value * 0.02),
            Flaw::Card => colour = self.card(x as u32, y as u32),
            Flaw::Bars => colour = bar(x),
            Flaw::Dark => colour = colour.map(|value| value * 0.12),
            Flaw::Flat => colour = colour.map(|value| 128.0 + (value - 128.0) * 0.04),
            Flaw::None | Flaw::Blurred => {}
        }
        colour.map(|value| value.clamp(0.0, 255.0) as u8)
    }

    /// Three lines of words, of blocks that are as hard-edged and as irregular as letters.
    fn card(&self, x: u32, y: u32) -> Colour {
        let (line, within) = (y / 60, y % 60);
        let (letter, stroke) = (x / 20, x % 20 / 5);
        let is_text = (2..5).contains(&line) && (12..48).contains(&within);
        let is_word =
            (6..26).contains(&letter) && !mix(self.grain ^ u64::from(letter)).is_multiple_of(6);
        let cell = u64::from(((line * 64 + letter) * 4 + stroke) * 8 + within / 9);
        match is_text && is_word && stroke < 3 && mix(self.grain ^ cell).is_multiple_of(2) {
            true => [235.0; 3],
            false => self.ground.map(|value| value * 0.4),
        }
    }

    fn colour(&self, x: f32, y: f32) -> Colour {
        let (rise, start) = self.hills;
        let wave = (x / 97.0 + start).sin() + 0.5 * (x / 41.0 + 2.0 * start).sin();
        let horizon = HEIGHT as f32 * 0.6 - rise * wave;
        let mut colour = blend(self.sky[0], self.sky[1], y / horizon.max(1.0));
        colour = self.sun.over(colour, x, y, self.softness);
        let mut ground = self.ground;
        if self.flaw != Flaw::Blurred {
            // Grass: what makes a sharp picture sharp.
            let cell = u64::from(x as u32 / 2) << 32 | u64::from(y as u32 / 3);
            let speck = (mix(self.grain ^ cell) % 48) as f32 - 24.0;
            ground = ground.map(|value| value + speck);
        }
        colour = blend(colour, ground, (y - horizon) / self.softness + 0.5);
        self.subject.over(colour, x, y, self.softness)
    }
}

impl Disc {
    fn over(&self, below: Colour, x: f32, y: f32, softness: f32) -> Colour {
        let distance = (x - self.centre.0).hypot(y - self.centre.1);
        blend(below, self.colour, (self.radius - distance) / softness + 0.5)
    }
}

/// The seven bars of a test picture, at 75%.
fn bar(x: f32) -> Colour {
    let bits = 7 - ((x * 7.0 / WIDTH as f32) as u8).min(6);
    [2, 4, 1].map(|bit| if bits & bit > 0 { 191.0 } else { 0.0 })
}

/// Half of the first snapshots have a flaw, and half of those in the middle.
pub(super) fn flaw(video: u64, number: u8, snapshots: u8) -> Flaw {
    let chance = mix(video ^ 0xF1A3) % 8;
    if number == 1 && snapshots > 1 {
        return match chance {
            0 => Flaw::Black,
            1 => Flaw::Dark,
            2 => Flaw::White,
            3 => Flaw::Card,
            _ => Flaw::None,
        };
    }
    match (number == snapshots / 2 + 1 && snapshots > 2, chance) {
        (true, 1) => Flaw::Blurred,
        (true, 2) => Flaw::Bars,
        (true, 5) => Flaw::Black,
        (true, 6) => Flaw::Flat,
        _ => Flaw::None,
    }
}

fn blend(from: Colour, to: Colour, part: f32) -> Colour {
    let part = part.clamp(0.0, 1.0);
    std::array::from_fn(|at| from[at] + (to[at] - from[at]) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(jpeg: &[u8]) -> f64 {
        let image = image::load_from_memory(jpeg).unwrap().to_luma8();
        image.pixels().map(|pixel| f64::from(pixel.0[0])).sum::<f64>() / image.pixels().len() as f64
    }

    #[test]
    fn pictures_decode_and_follow_from_video_and_number() {
        let draw = |video, picture| jpeg(video, 8, picture).unwrap();
        let third = draw(5, Picture::Snapshot(3));
        let image = image::load_from_memory(&third).unwrap();
        assert_eq!((image.width(), image.height()), (WIDTH, HEIGHT));
        assert_eq!(third, draw(5, Picture::Snapshot(3)));
        assert_ne!(third, draw(5, Picture::Snapshot(4)));
        assert_ne!(third, draw(6, Picture::Snapshot(3)));
        assert!(image::load_from_memory(&draw(5, Picture::Sprite)).is_ok());
        assert!(image::load_from_memory(&draw(5, Picture::Smart(2))).is_ok());
    }

    #[test]
    fn a_black_first_snapshot_is_darker_than_the_others() {
        let video = (0..100).find(|video| flaw(*video, 1, 8) == Flaw::Black).unwrap();
        let mean_of = |number| mean(&jpeg(video, 8, Picture::Snapshot(number)).unwrap());
        assert!(mean_of(1) < 10.0 && mean_of(7) > 40.0);
    }

    #[test]
    fn flaws_come_at_the_start_and_in_the_middle_only() {
        let count = |number, wanted: Flaw| {
            (0..800).filter(|video| flaw(mix(*video), number, 8) == wanted).count()
        };
        for wanted in [Flaw::Black, Flaw::Dark, Flaw::White, Flaw::Card] {
            assert!((60..140).contains(&count(1, wanted)), "{wanted:?}");
        }
        for wanted in [Flaw::Blurred, Flaw::Bars, Flaw::Black, Flaw::Flat] {
            assert!((60..140).contains(&count(5, wanted)), "{wanted:?}");
        }
        for number in [2, 3, 4, 6, 7, 8] {
            assert_eq!(count(number, Flaw::None), 800);
        }
    }
}
