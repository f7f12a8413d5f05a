//! Finds writing: thin strokes that stand out from what is around them, and the lines that they form.
//! Reads nothing.

use super::frame::Area;

/// Strokes are thinner than twice this, in pixels of the reduced picture.
const REACH: usize = 2;
/// How far a stroke stands out from its surroundings, and how much is enough for a line of writing.
const OUTSTANDING: u8 = 50;
const OF_A_LINE: u8 = 36;
/// Writing in lines is this bright at least.
const BRIGHT: u8 = 140;
/// Share of a row's pixels in strokes from which a line begins, and below which it ends.
const BEGINS: f64 = 0.035;
const ENDS: f64 = 0.012;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strokes {
    /// Share of pixels in light and in dark strokes.
    pub light: f64,
    pub dark: f64,
    /// Share of the light strokes' pixels that stand on even ground.
    pub on_even_ground: f64,
    /// Lines of light strokes, and the share of the strokes that lie in them.
    pub lines: f64,
    pub in_lines: f64,
}

impl Strokes {
    pub fn find(area: &Area) -> Self {
        let (width, height) = (area.width, area.height);
        let opened = filter(&filter(&area.luma, width, |a, b| a.min(b)), width, |a, b| a.max(b));
        let closed = filter(&filter(&area.luma, width, |a, b| a.max(b)), width, |a, b| a.min(b));
        let count = |filtered: &[u8]| {
            let apart = area.luma.iter().zip(filtered).map(|(a, b)| a.abs_diff(*b));
            apart.filter(|apart| *apart > OUTSTANDING).count() as f64
        };
        let pixels = (width * height) as f64;
        let (light, dark) = (count(&opened), count(&closed));
        let mut even = 0u32;
        for y in 0..height - 1 {
            let luma = area.row(&area.luma, y);
            let (row, below) = (area.row(&opened, y), area.row(&opened, y + 1));
            for (x, pair) in row.windows(2).enumerate() {
                let step = pair[0].abs_diff(pair[1]).max(pair[0].abs_diff(below[x]));
                even += u32::from(luma[x].saturating_sub(row[x]) > OUTSTANDING && step < 6);
            }
        }
        let (lines, in_lines) = lines(area, &opened);
        Self {
            light: light / pixels,
            dark: dark / pixels,
            on_even_ground: f64::from(even) / (light + 30.0),
            lines,
            in_lines,
        }
    }
}

/// Looks for lines over the whole width, in the middle, and in either half, where credits stand.
fn lines(area: &Area, opened: &[u8]) -> (f64, f64) {
    let quarter = area.width / 4;
    let rows: Vec<[f64; 4]> = (0..area.height)
        .map(|y| {
            let (luma, ground) = (area.row(&area.luma, y), area.row(opened, y));
            let in_stroke =
                |x: &usize| luma[*x].saturating_sub(ground[*x]) > OF_A_LINE && luma[*x] > BRIGHT;
            [0, 1, 2, 3].map(|part| {
                let to = if part == 3 { area.width } else { (part + 1) * quarter };
                (part * quarter..to).filter(in_stroke).count() as f64
            })
        })
        .collect();
    let (mut most, mut best) = (0.0f64, 0.0f64);
    for (parts, width) in
        [(0..4, area.width), (1..3, area.width / 2), (0..2, area.width / 2), (2..4, area.width / 2)]
    {
        let shares: Vec<f64> =
            rows.iter().map(|row| row[parts.clone()].iter().sum::<f64>() / width as f64).collect();
        let (count, inside) = lines_of(&shares);
        let part = inside / (shares.iter().sum::<f64>() + 0.15);
        best = best.max(part * (inside / 0.6).min(1.0));
        if part > 0.6 {
            most = most.max(count);
        }
    }
    (most, best)
}

/// Runs of rows with strokes between rows without, no higher than a line of writing; and what is in them.
fn lines_of(shares: &[f64]) -> (f64, f64) {
    let highest = ((shares.len() as f64 * 0.13) as usize).max(6);
    let (mut count, mut inside, mut at) = (0.0, 0.0, 0);
    while at < shares.len() {
        if shares[at] <= BEGINS {
            at += 1;
            continue;
        }
        let height = shares[at..].iter().take_while(|share| **share >= ENDS).count();
        if (2..=highest).contains(&height) {
            count += 1.0;
            inside += shares[at..at + height].iter().sum::<f64>();
        }
        at += height;
    }
    (count, inside)
}

/// The least or greatest value within [`REACH`] of each pixel.
fn filter(plane: &[u8], width: usize, of: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    let mut across = plane.to_vec();
    for (row, out) in plane.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        for distance in 1..=REACH {
            let length = width - distance;
            for (out, value) in out[..length].iter_mut().zip(&row[distance..]) {
                *out = of(*out, *value);
            }
            for (out, value) in out[distance..].iter_mut().zip(&row[..length]) {
                *out = of(*out, *value);
            }
        }
    }
    let mut both = across.clone();
    for distance in 1..=REACH {
        let shift = distance * width;
        let length = plane.len().saturating_sub(shift);
        for (out, value) in both[..length].iter_mut().zip(&across[shift..]) {
            *out = of(*out, *value);
        }
        for (out, value) in both[shift..].iter_mut().zip(&across[..length]) {
            *out = of(*out, *value);
        }
    }
    both
}
