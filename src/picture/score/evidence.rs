//! Turns measurements into evidence: what speaks against each picture, from 0 to 1, and what defects it
//! has. References are the video's own: upper values of its pictures that are neither blank nor cards.

use super::Defect;
use super::compare::Thumbnails;
use super::look::Look;

/// Kinds of evidence, in the order of `WEIGHTS`.
pub(super) const COUNT: usize = 22;

/// How much a picture is like one of the video that the video is full of, and yet not removed from it.
const USUAL: f64 = 0.8;

pub(super) type Evidence = [f64; COUNT];

pub(super) fn of(looks: &[Look]) -> (Vec<Evidence>, Vec<Vec<Defect>>) {
    let video = Video::new(looks);
    let evidence: Vec<Evidence> = (0..looks.len()).map(|at| video.against(at)).collect();
    let defects = (0..looks.len()).map(|at| video.defects(at)).collect();
    (evidence, defects)
}

/// 0 up to `from`, 1 from `to`, a straight line between.
pub(super) fn ramp(value: f64, from: f64, to: f64) -> f64 {
    ((value - from) / (to - from)).clamp(0.0, 1.0)
}

/// The pictures of one video with what they have in common.
struct Video<'a> {
    looks: &'a [Look],
    blank: Vec<f64>,
    card: Vec<f64>,
    pattern: Vec<f64>,
    text: Vec<f64>,
    lines: Vec<f64>,
    noise: Vec<f64>,
    blend: Vec<f64>,
    /// Which pictures references are taken from.
    usual: Vec<usize>,
    /// Most of the video is cards: a slide show or a screen recording, where writing is the content.
    slides: bool,
    /// How alike two pictures are, 0 to 1, by index.
    likeness: Vec<Vec<f64>>,
    same_format: bool,
}

impl<'a> Video<'a> {
    fn new(looks: &'a [Look]) -> Self {
        let each = |of: fn(&Look) -> f64| looks.iter().map(of).collect::<Vec<_>>();
        let (mut blank, card, pattern) = (each(blank), each(card), each(pattern));
        let count = looks.len();
        let inner = if count > 3 { 1..count - 1 } else { 0..count };
        let cards = inner.clone().filter(|at| card[*at] > 0.3).count();
        let slides = count > 0 && 2 * cards >= inner.len();
        let ordinary = |at: &usize| blank[*at] < 0.5 && card[*at] < 0.5 && pattern[*at] < 0.5;
        let mut usual: Vec<usize> = (0..count).filter(ordinary).collect();
        if usual.is_empty() {
            usual = (0..count).filter(|at| blank[*at] < 0.9).collect();
        }
        if usual.is_empty() {
            usual = (0..count).collect();
        }
        if slides {
            // A slide may be one tone nearly everywhere.
            let few_tones = |(blank, look): (&mut f64, &Look)| {
                if look.high - look.low >= 25.0 {
                    *blank = 0.0;
                }
            };
            blank.iter_mut().zip(looks).for_each(few_tones);
        }
        let thumbnails = Thumbnails::of(looks);
        let alike = |one: usize, other: usize| match one == other {
            true => 0.0,
            false => thumbnails.likeness(one, other).max(0.0),
        };
        let likeness =
            (0..count).map(|one| (0..count).map(|other| alike(one, other)).collect()).collect();
        let format = looks.first().map(|look| look.format);
        Self {
            looks,
            card,
            pattern,
            text: each(text),
            lines: each(lines),
            noise: each(noise),
            blend: thumbnails.blends(&blank),
            blank,
            usual,
            slides,
            likeness,
            same_format: looks.iter().all(|look| Some(look.format) == format),
        }
    }

    /// In the order of `WEIGHTS`.
    fn against(&self, at: usize) -> Evidence {
        let look = &self.looks[at];
        let unless_slides = |value: f64| if self.slides { 0.0 } else { value };
        // How far below the video's usual value, on a logarithmic scale; the floor is what cannot be seen.
        let below = |part: f64, floor: f64, of: fn(&Look) -> f64| {
            ((self.reference(part, of) + floor) / (of(look) + floor)).ln()
        };
        let blur = |look: &Look| -(look.sharpness_across + 0.01).ln();
        let alone = self.usual.iter().map(|other| self.likeness[at][*other]).fold(0.0, f64::max);
        [
            self.blank[at],
            ramp(-look.high, -110.0, -40.0),
            self.pattern[at],
            unless_slides(self.card[at]),
            unless_slides(self.beyond_usual(&self.text, at)),
            unless_slides(self.beyond_usual(&self.lines, at)),
            self.beyond_usual(&self.noise, at),
            ramp(below(0.6, 8.0, |look| look.mean), 0.35, 1.2),
            ramp(look.mean - self.reference(0.5, |look| look.mean), 40.0, 90.0),
            ramp(blur(look) - self.reference(0.5, blur), 0.0, 1.2),
            unless_slides(ramp(below(0.7, 2.0, |look| look.contrast), 0.0, 1.0)),
            unless_slides(ramp(below(0.7, 2.0, |look| look.structure), 0.0, 1.2)),
            unless_slides(ramp(below(0.7, 4.0, |look| look.colour), 0.0, 1.2)),
            match self.same_format {
                true => ramp(below(0.5, 0.0, |look| look.density), 0.0, 1.2),
                false => 0.0,
            },
            ramp(self.worse_than_alike(at, |_, look| (look.contrast + 2.0).ln()), 0.04, 0.6),
            ramp(
                self.worse_than_alike(at, |_, look| (look.sharpness_across + 0.02).ln()),
                0.05,
                0.8,
            ),
            ramp(self.worse_than_alike(at, |at, _| -self.noise[at]), 0.05, 0.8),
            ramp(self.worse_than_alike(at, |_, look| -(look.clipped + 0.03).ln()), 0.2, 1.5),
            self.blend[at],
            ramp(1.0 - alone, 0.2, 0.7),
            ramp(look.area - self.reference(0.5, |look| look.area), 0.04, 0.12),
            self.edge(at),
        ]
    }

    fn defects(&self, at: usize) -> Vec<Defect> {
        let look = &self.looks[at];
        let nothing = self.blank[at] > 0.5;
        let usual_mean = self.reference(0.5, |look| look.mean);
        let soft = |look: &Look| -(look.sharpness + 0.01).ln();
        let found = [
            (Defect::Tiny, look.tiny),
            (Defect::Black, nothing && look.high < 60.0),
            (Defect::White, nothing && look.low > 200.0),
            (Defect::Blank, nothing && (60.0..=255.0).contains(&look.high) && look.low <= 200.0),
            (Defect::TooDark, look.high < 60.0 || look.mean + 4.0 < (usual_mean + 4.0) * 0.25),
            (Defect::Bars, self.pattern[at] > 0.5),
            (Defect::Card, !self.slides && self.card[at] > 0.5),
            (Defect::Credits, !self.slides && self.beyond_usual(&self.lines, at) > 0.5),
            (Defect::Noise, self.beyond_usual(&self.noise, at) > 0.8),
            (Defect::Blurred, soft(look) > 2.1 && soft(look) > self.reference(0.5, soft) + 0.4),
            (Defect::Transition, self.blend[at] > 0.8),
        ];
        // The first says it all: what is black is dark and blurred as well.
        found.into_iter().filter(|(_, is)| *is).map(|(defect, _)| defect).take(1).collect()
    }

    /// The value below which this part of the video's usual pictures lies.
    fn reference(&self, part: f64, of: impl Fn(&Look) -> f64) -> f64 {
        percentile(self.usual.iter().map(|at| of(&self.looks[*at])), part)
    }

    /// What a picture has more of than the video's usual pictures.
    fn beyond_usual(&self, values: &[f64], at: usize) -> f64 {
        let usual = percentile(self.usual.iter().map(|at| values[*at]), 0.5);
        (values[at] - USUAL * usual).max(0.0)
    }

    /// How much better the best look-alike is; look-alikes count the more the more alike they are.
    fn worse_than_alike(&self, at: usize, of: impl Fn(usize, &Look) -> f64) -> f64 {
        let this = of(at, &self.looks[at]);
        let better = |(other, look): (usize, &Look)| {
            ramp(self.likeness[at][other], 0.6, 0.85) * (of(other, look) - this)
        };
        self.looks.iter().enumerate().map(better).fold(0.0, f64::max)
    }

    fn edge(&self, at: usize) -> f64 {
        let last = self.looks.len() - 1;
        match (at.min(last - at), last) {
            (0, _) => 1.0,
            (1, 6..) => 0.4,
            _ => 0.0,
        }
    }
}

fn blank(look: &Look) -> f64 {
    let few_tones = ramp(-(look.high - look.low), -40.0, -12.0);
    few_tones.max(ramp(look.commonest, 0.6, 0.9) * ramp(-look.plainness, -3.0, -1.5))
}

fn card(look: &Look) -> f64 {
    ramp(look.flat, 0.45, 0.8) * ramp(look.hard, 0.15, 0.35)
}

fn pattern(look: &Look) -> f64 {
    ramp(look.flat, 0.6, 0.85) * ramp(look.chroma, 35.0, 60.0)
}

fn text(look: &Look) -> f64 {
    let hard = ramp(look.hard, 0.2, 0.55);
    let on_even_ground = ramp(look.strokes.on_even_ground, 0.66, 0.86)
        * ramp(look.strokes.light + look.strokes.dark, 0.005, 0.03);
    hard * on_even_ground.max(ramp(look.whiteness_all, 0.55, 0.75))
}

fn lines(look: &Look) -> f64 {
    let lined = ramp(look.strokes.lines, 3.0, 9.0).min(ramp(look.strokes.in_lines, 0.5, 0.95));
    lined * ramp(look.hard, 0.12, 0.35)
}

fn noise(look: &Look) -> f64 {
    let in_luma = ramp(look.grain, 2.0, 9.0) * ramp(look.whiteness, 0.6, 0.8);
    in_luma.max(ramp(look.colour_grain, 1.5, 5.0))
}

/// With interpolation between neighbours; 0 of nothing.
fn percentile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = part * sorted.len().saturating_sub(1) as f64;
    let value = |at: f64| sorted.get(at as usize).copied().unwrap_or_default();
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + (above - below) * at.fract()
}
