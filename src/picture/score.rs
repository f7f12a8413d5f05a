//! Judges the snapshots of one video by looking: `score = 100 x exp(-sum of weight x evidence)`, where every
//! evidence is a named number from 0 to 1, so that each choice can be explained. Pure. Pictures are compared
//! with the others of their video: a night film is no defect, and the best of several takes of a scene wins.

use std::fmt;

mod compare;
mod evidence;
mod frame;
mod look;
mod strokes;

pub use look::{Look, look};

/// What speaks against a picture, and how much: an evidence of 1 divides the score by e to the power of the
/// weight. All weights are here and nowhere else. They were fitted to 338 videos whose snapshots have known
/// quality: none below zero, a logistic loss over the pairs of each video and a softmax over its best, and a
/// penalty on large weights. They hold for [`super::LONGER_SIDE`] pixels: refit them if that, or the measure
/// of an evidence, changes, and look at the result with `tests/bench/pick`.
const WEIGHTS: [(&str, f64); evidence::COUNT] = [
    // Nothing to see, by itself.
    ("blank", 0.49),   // hardly any tones, or one tone nearly everywhere
    ("dim", 0.36),     // not even the brightest parts are bright
    ("pattern", 0.42), // flat and very colourful: colour bars
    ("card", 0.31),    // flat with hard edges: a title or a logo
    ("text", 0.62),    // strokes on even ground, more than the video usually has
    ("lines", 0.33),   // lines of writing, one below the other: credits
    ("noise", 0.38),   // neighbours that have nothing in common
    // Worse than the video's other pictures.
    ("dark", 0.35),
    ("bright", 0.13),
    ("motion", 0.34), // less sharp in one direction, or in both
    ("contrast", 0.13),
    ("structure", 0.13),
    ("colour", 0.20),
    ("detail", 0.17), // the file is small for its size
    // Worse than a look-alike, which is most likely the same scene.
    ("less contrast than a look-alike", 0.41),
    ("less sharp than a look-alike", 0.09),
    ("noisier than a look-alike", 0.27),
    ("more clipped than a look-alike", 0.22),
    // Not of the video.
    ("blend", 0.46), // a mix of an earlier and a later snapshot: a dissolve
    ("loner", 0.12), // like no other snapshot
    ("frame", 0.21), // larger than the film: cards fill the screen that the film does not
    ("edge", 0.27),  // the first or last snapshots: openings and endings
];

/// Why a picture should be no cover, whatever the others are like. As it follows "the picture is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    Tiny,
    Black,
    White,
    Blank,
    TooDark,
    Bars,
    Card,
    Credits,
    Blurred,
    Noise,
    Transition,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiny => "tiny",
            Self::Black => "black",
            Self::White => "white",
            Self::Blank => "blank",
            Self::TooDark => "too dark",
            Self::Bars => "colour bars",
            Self::Card => "a title card",
            Self::Credits => "credits",
            Self::Blurred => "blurred",
            Self::Noise => "noise",
            Self::Transition => "a transition",
        })
    }
}

/// What was found of a picture among the others of its video.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// 0 (worst) to 100. Compare it within one video only.
    pub score: f64,
    /// Empty for a picture that may become the cover.
    pub defects: Vec<Defect>,
    /// Every evidence by its name, 0 to 1: what speaks against the picture.
    pub features: Vec<(&'static str, f64)>,
}

/// Judges the pictures of one video, which must be in the order of the video. The answer is in the same
/// order.
pub fn rank(looks: &[Look]) -> Vec<Score> {
    let (evidence, defects) = evidence::of(looks);
    let score = |(evidence, defects): ([f64; evidence::COUNT], Vec<Defect>)| {
        let against: f64 = WEIGHTS.iter().zip(evidence).map(|((_, weight), e)| weight * e).sum();
        let features = WEIGHTS.iter().zip(evidence).map(|((name, _), e)| (*name, e)).collect();
        Score { score: 100.0 * (-against).exp(), defects, features }
    };
    evidence.into_iter().zip(defects).map(score).collect()
}

#[cfg(test)]
mod tests;
