//! Compares the pictures of one video by their thumbnails: which are look-alikes, and which is a mix of two
//! others.

use super::evidence::ramp;
use super::look::Look;

/// Cells that are darker in every picture are the film's bars.
const BAR: f64 = 26.0;
/// Cells that must be left for a comparison.
const FEWEST_CELLS: usize = 12;
/// Squared steps for each value, below which thumbnails are nearly uniform.
const FLOOR: f64 = 1.5;
/// Colour counts for more than luma, because it has less range.
const CHROMA: f64 = 1.5;
/// Snapshots before and after among which the two halves of a dissolve are looked for.
const REACH: usize = 3;

/// The thumbnails of one video, without its bars and each less its mean.
pub(super) struct Thumbnails(Vec<Vec<f64>>);

impl Thumbnails {
    pub fn of(looks: &[Look]) -> Self {
        let cells = looks.first().map_or(0, |look| look.thumbnail.len());
        let mut kept: Vec<usize> = (0..cells)
            .filter(|cell| looks.iter().any(|look| look.thumbnail[*cell][0] > BAR))
            .collect();
        if kept.len() < FEWEST_CELLS {
            kept = (0..cells).collect();
        }
        let centred = |look: &Look| {
            let plane = |plane: usize, weight: f64| {
                let values = kept.iter().map(move |cell| look.thumbnail[*cell][plane]);
                let mean = values.clone().sum::<f64>() / kept.len().max(1) as f64;
                values.map(move |value| (value - mean) * weight).collect::<Vec<_>>()
            };
            [plane(0, 1.0), plane(1, CHROMA), plane(2, CHROMA)].concat()
        };
        Self(looks.iter().map(centred).collect())
    }

    /// From -1 to 1: 1 for the same picture, also if it is darker or paler. The floor keeps what is
    /// nearly uniform from resembling anything.
    pub fn likeness(&self, one: usize, other: usize) -> f64 {
        let (a, b) = (&self.0[one], &self.0[other]);
        let floor = FLOOR * a.len() as f64;
        dot(a, b) / ((dot(a, a) + floor) * (dot(b, b) + floor)).sqrt()
    }

    /// How well each picture is explained as a mix of an earlier and a later one, better than by either
    /// alone: 0 to 1. Contrast does not matter, so a fade within the mix does not hide it.
    pub fn blends(&self, blank: &[f64]) -> Vec<f64> {
        let count = self.0.len();
        let mix = |this: usize, before: usize, after: usize| {
            let between = self.likeness(before, after);
            if between > 0.75 {
                return 0.0;
            }
            let (a, b) = (self.likeness(this, before), self.likeness(this, after));
            // Least squares of unit vectors; the 0.02 keeps two that are alike from cancelling out.
            let determinant = 1.02 - between * between;
            let (of_a, of_b) = ((a - between * b) / determinant, (b - between * a) / determinant);
            let both = of_a * a + of_b * b;
            let alone = a.max(b).powi(2);
            ramp(both, 0.65, 0.9)
                * ramp((both - alone) / (1.02 - alone), 0.15, 0.5)
                * ramp(of_a.min(of_b), 0.15, 0.3)
        };
        let seen = |at: &usize| blank[*at] <= 0.8;
        (0..count)
            .map(|this| {
                if blank[this] > 0.5 {
                    return 0.0;
                }
                let before = (this.saturating_sub(REACH)..this).filter(seen);
                let pairs = before.flat_map(|before| {
                    let after = (this + 1..count.min(this + REACH + 1)).filter(seen);
                    after.map(move |after| (before, after))
                });
                pairs.map(|(before, after)| mix(this, before, after)).fold(0.0, f64::max)
            })
            .collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
