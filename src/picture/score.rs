//! A stand-in until the real scorer is merged: black, blank and blurred pictures are told apart.

use std::fmt;

use super::Small;

#[derive(Debug, Clone)]
pub struct Look {
    mean: f64,
    range: f64,
    edges: f64,
    flat: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    Black,
    Blank,
    Blurred,
    Card,
    Dark,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Black => "black",
            Self::Blank => "blank",
            Self::Blurred => "blurred",
            Self::Card => "a card",
            Self::Dark => "dark",
        })
    }
}

#[derive(Debug, Clone)]
pub struct Score {
    pub score: f64,
    pub defects: Vec<Defect>,
    pub features: Vec<(&'static str, f64)>,
}

pub fn look(small: &Small) -> Look {
    let mut sorted = small.luma.clone();
    sorted.sort_unstable();
    let at = |part: f64| {
        let at = (part * sorted.len().saturating_sub(1) as f64) as usize;
        f64::from(sorted.get(at).copied().unwrap_or_default())
    };
    let count = small.luma.len().max(1) as f64;
    let rows = small.luma.chunks_exact(small.width.max(1));
    let edges: f64 =
        rows.flat_map(|row| row.windows(2).map(|pair| f64::from(pair[0].abs_diff(pair[1])))).sum();
    let still = small.luma.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 2).count();
    let mean = small.luma.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    Look { mean, range: at(0.98) - at(0.02), edges: edges / count, flat: still as f64 / count }
}

pub fn rank(looks: &[Look]) -> Vec<Score> {
    let mut means: Vec<f64> = looks.iter().map(|look| look.mean).collect();
    means.sort_by(f64::total_cmp);
    let usual = means.get(means.len() / 2).copied().unwrap_or_default();
    let one = |look: &Look| {
        let defect = match look {
            look if look.mean < 10.0 => Some(Defect::Black),
            look if look.mean < 32.0 || look.mean < usual * 0.3 => Some(Defect::Dark),
            look if look.range < 24.0 => Some(Defect::Blank),
            look if look.flat > 0.8 && look.edges > 1.2 => Some(Defect::Card),
            look if look.edges < 1.2 => Some(Defect::Blurred),
            _ => None,
        };
        let penalty = if defect.is_some() { 60.0 } else { 0.0 };
        let score = (60.0 + look.edges.min(20.0) * 2.0 - penalty).clamp(0.0, 100.0);
        let features = vec![("mean", look.mean), ("range", look.range), ("edges", look.edges)];
        Score { score, defects: defect.into_iter().collect(), features }
    };
    looks.iter().map(one).collect()
}
