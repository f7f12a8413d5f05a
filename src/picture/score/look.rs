//! What one picture looks like by itself: a few dozen numbers and a thumbnail, measured in one walk over
//! its reduced planes. Nothing here judges; numbers of different pictures are compared in `compare`.

use super::frame::{Area, cut};
use super::strokes::Strokes;
use crate::picture::{Format, Small};

/// Columns and rows of the grid in which structure is measured.
const GRID: (usize, usize) = (16, 9);
/// Columns and rows of the thumbnail by which pictures are compared. It shows the whole picture, bars
/// included, so that the thumbnails of one video lie on one another.
pub(super) const THUMBNAIL: (usize, usize) = (20, 12);
/// A side that is shorter has no structure to be measured.
const SHORTEST: usize = 32;

/// One picture, measured. Luma and chroma are in steps of 0 to 255.
#[derive(Debug, Clone)]
pub struct Look {
    pub(super) format: Format,
    /// File size for each pixel of the reduced picture: what the encoder made of its details.
    pub(super) density: f64,
    /// Share of the picture that is no black bar.
    pub(super) area: f64,
    /// Too small to be looked at; everything below is zero then.
    pub(super) tiny: bool,
    pub(super) mean: f64,
    /// The 2nd and 98th percentile of luma.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Share of luma at 250 and above.
    pub(super) clipped: f64,
    /// Share of pixels within two steps of the commonest luma.
    pub(super) commonest: f64,
    /// Standard deviation of luma in the median tile, and in the quarter with most.
    pub(super) plainness: f64,
    pub(super) contrast: f64,
    /// Difference at a distance of four pixels in the quarter of tiles with most: so a blurred
    /// background does not count.
    pub(super) structure: f64,
    /// Energy at a distance of one pixel against that of four, in the same tiles: low for blur.
    pub(super) sharpness: f64,
    /// The same along the worse of the two directions: low for motion blur as well.
    pub(super) sharpness_across: f64,
    /// Difference at a distance of one pixel in the flattest fifth of the tiles.
    pub(super) grain: f64,
    /// Energy at distance one against two: near 1 for noise, in flat tiles and in all of them.
    pub(super) whiteness: f64,
    pub(super) whiteness_all: f64,
    /// Difference of chroma at a distance of one pixel in the median tile: pictures have next to none.
    pub(super) colour_grain: f64,
    /// Share of pixels that equal their neighbours, within a step.
    pub(super) flat: f64,
    /// Share of the edges that are hard.
    pub(super) hard: f64,
    /// Colourfulness after Hasler and Suesstrunk (2003), and mean distance from grey.
    pub(super) colour: f64,
    pub(super) chroma: f64,
    pub(super) strokes: Strokes,
    /// Luma, Cb and Cr, 0 to 255.
    pub(super) thumbnail: Vec<[f64; 3]>,
}

/// Measures a picture. Takes less than a millisecond.
pub fn look(small: &Small) -> Look {
    let area = cut(small);
    let whole = (small.width * small.height).max(1) as f64;
    let mut look = Look {
        format: small.facts.format,
        density: small.facts.bytes as f64 / whole,
        area: (area.width * area.height) as f64 / whole,
        tiny: area.width < SHORTEST || area.height < SHORTEST,
        mean: 0.0,
        low: 0.0,
        high: 0.0,
        clipped: 0.0,
        commonest: 0.0,
        plainness: 0.0,
        contrast: 0.0,
        structure: 0.0,
        sharpness: 0.0,
        sharpness_across: 0.0,
        grain: 0.0,
        whiteness: 0.0,
        whiteness_all: 0.0,
        colour_grain: 0.0,
        flat: 0.0,
        hard: 0.0,
        colour: 0.0,
        chroma: 0.0,
        strokes: Strokes::default(),
        thumbnail: thumbnail(small),
    };
    if !look.tiny {
        look.tones(&area);
        look.tiles(&area);
        look.edges(&area);
        look.colours(&area);
        look.strokes = Strokes::find(&area);
    }
    look
}

impl Look {
    fn tones(&mut self, area: &Area) {
        let mut counts = [0u32; 256];
        area.luma.iter().for_each(|value| counts[usize::from(*value)] += 1);
        let count = area.luma.len() as f64;
        let at = |part: f64| {
            let mut left = part * count;
            counts.iter().position(|bin| {
                left -= f64::from(*bin);
                left <= 0.0
            })
        };
        self.low = at(0.02).unwrap_or(0) as f64;
        self.high = at(0.98).unwrap_or(255) as f64;
        let sum: f64 = counts.iter().enumerate().map(|(at, bin)| at as f64 * f64::from(*bin)).sum();
        self.mean = sum / count;
        self.clipped = f64::from(counts[250..].iter().sum::<u32>()) / count;
        let most = counts.windows(5).map(|bins| bins.iter().sum::<u32>()).max();
        self.commonest = f64::from(most.unwrap_or(0)) / count;
    }

    fn tiles(&mut self, area: &Area) {
        let tiles = Tile::all(area);
        let mut spread: Vec<f64> = tiles.iter().map(|tile| tile.deviation).collect();
        spread.sort_by(f64::total_cmp);
        let quarter = tiles.len() / 4;
        self.plainness = spread[spread.len() / 2];
        self.contrast = mean(spread[spread.len() - quarter..].iter().copied());

        let mut by_structure = tiles;
        by_structure.sort_by(|a, b| a.far().total_cmp(&b.far()));
        let most = &by_structure[by_structure.len() - quarter..];
        let sum = |tiles: &[Tile], of: fn(&Tile) -> f64| tiles.iter().map(of).sum::<f64>();
        self.structure = (sum(most, Tile::far) / quarter as f64).sqrt();
        self.sharpness = (sum(most, Tile::near) + 1.0) / (sum(most, Tile::far) + 16.0);
        let along = |axis: usize| {
            let near: f64 = most.iter().map(|tile| tile.one[axis]).sum();
            let far: f64 = most.iter().map(|tile| tile.four[axis]).sum();
            (near + 1e-3) / (far + 0.4)
        };
        self.sharpness_across = along(0).min(along(1));

        let flattest = &by_structure[..by_structure.len() / 5];
        self.grain = (sum(flattest, Tile::near) / flattest.len() as f64 / 4.0).sqrt();
        let flat = &by_structure[..quarter];
        self.whiteness = (sum(flat, Tile::near) + 0.05) / (sum(flat, Tile::middle) + 0.1);
        self.whiteness_all =
            (sum(&by_structure, Tile::near) + 0.5) / (sum(&by_structure, Tile::middle) + 0.5);
        let mut chroma: Vec<f64> = by_structure.iter().map(|tile| tile.chroma).collect();
        chroma.sort_by(f64::total_cmp);
        self.colour_grain = (chroma[chroma.len() / 2] / 4.0).sqrt();
    }

    fn edges(&mut self, area: &Area) {
        let (mut flat, mut soft, mut hard, mut count) = (0u32, 0u32, 0u32, 0u32);
        for y in 0..area.height - 1 {
            let (row, below) = (area.row(&area.luma, y), area.row(&area.luma, y + 1));
            for ((pair, _), under) in row.windows(2).zip(row).zip(below) {
                let step = pair[0].abs_diff(pair[1]).max(pair[0].abs_diff(*under));
                flat += u32::from(step < 2);
                soft += u32::from(step > 12);
                hard += u32::from(step > 48);
                count += 1;
            }
        }
        self.flat = f64::from(flat) / f64::from(count.max(1));
        self.hard = (f64::from(hard) + 1.0) / (f64::from(soft) + 40.0);
    }

    fn colours(&mut self, area: &Area) {
        let (mut blue, mut red, mut blue2, mut red2, mut both) = (0i64, 0i64, 0i64, 0i64, 0i64);
        let mut distance = 0f64;
        for (cb, cr) in area.cb.iter().zip(&area.cr) {
            let (b, r) = (i32::from(*cb) - 128, i32::from(*cr) - 128);
            blue += i64::from(b);
            red += i64::from(r);
            blue2 += i64::from(b * b);
            red2 += i64::from(r * r);
            both += i64::from(b * r);
            distance += f64::from(((b * b + r * r) as f32).sqrt());
        }
        let count = area.cb.len() as f64;
        self.chroma = distance / count;
        let (b, r) = (blue as f64 / count, red as f64 / count);
        let (bb, rr) = (blue2 as f64 / count - b * b, red2 as f64 / count - r * r);
        let br = both as f64 / count - b * r;
        // R - G, and (R + G) / 2 - B, are sums of Cb and Cr, and so are their variances.
        let opponent = |of_b: f64, of_r: f64| {
            let variance = of_b * of_b * bb + of_r * of_r * rr + 2.0 * of_b * of_r * br;
            (variance.max(0.0), of_b * b + of_r * r)
        };
        let ((rg, rg_mean), (yb, yb_mean)) = (opponent(0.344, 2.116), opponent(-1.944, 0.344));
        self.colour = (rg + yb).sqrt() + 0.3 * rg_mean.hypot(yb_mean);
    }
}

/// Mean squared differences within one tile of the grid, across and down.
struct Tile {
    deviation: f64,
    one: [f64; 2],
    two: [f64; 2],
    four: [f64; 2],
    /// Of Cb and Cr together, at a distance of one pixel across.
    chroma: f64,
}

impl Tile {
    fn all(area: &Area) -> Vec<Self> {
        let bound = |at: usize, of: usize, length: usize| at * length / of;
        let grid = (0..GRID.1).flat_map(|row| (0..GRID.0).map(move |column| (column, row)));
        grid.map(|(column, row)| {
            let x = bound(column, GRID.0, area.width)..bound(column + 1, GRID.0, area.width);
            let y = bound(row, GRID.1, area.height)..bound(row + 1, GRID.1, area.height);
            Self::measure(area, x, y)
        })
        .collect()
    }

    fn measure(area: &Area, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> Self {
        let (mut sum, mut squares) = (0u32, 0u32);
        let pixels = (x.len() * y.len()) as f64;
        for row in y.clone() {
            for value in &area.row(&area.luma, row)[x.clone()] {
                sum += u32::from(*value);
                squares += u32::from(*value) * u32::from(*value);
            }
        }
        let mean = f64::from(sum) / pixels;
        // A tile at the edge has fewer neighbours, the last ones of a small picture none.
        let across = |plane: &[u8], distance: usize| {
            let to = x.end.min(area.width - distance).max(x.start);
            let rows = y.clone().map(|y| {
                let row = area.row(plane, y);
                energy(&row[x.start..to], row.get(x.start + distance..).unwrap_or_default())
            });
            rows.sum::<u32>() as f64 / (y.len() * (to - x.start)).max(1) as f64
        };
        let down = |distance: usize| {
            let to = y.end.min(area.height - distance).max(y.start);
            let row = |y| &area.row(&area.luma, y)[x.clone()];
            let rows = (y.start..to).map(|y| energy(row(y), row(y + distance)));
            rows.sum::<u32>() as f64 / (x.len() * (to - y.start)).max(1) as f64
        };
        Self {
            deviation: (f64::from(squares) / pixels - mean * mean).max(0.0).sqrt(),
            one: [across(&area.luma, 1), down(1)],
            two: [across(&area.luma, 2), down(2)],
            four: [across(&area.luma, 4), down(4)],
            chroma: across(&area.cb, 1) + across(&area.cr, 1),
        }
    }

    fn near(&self) -> f64 {
        self.one[0] + self.one[1]
    }

    fn middle(&self) -> f64 {
        self.two[0] + self.two[1]
    }

    fn far(&self) -> f64 {
        self.four[0] + self.four[1]
    }
}

fn energy(one: &[u8], other: &[u8]) -> u32 {
    let difference = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)) * u32::from(a.abs_diff(*b));
    one.iter().zip(other).map(difference).sum()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

fn thumbnail(small: &Small) -> Vec<[f64; 3]> {
    let (columns, rows) = THUMBNAIL;
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
    let span = |at: usize, of: usize, length: usize| {
        let from = (at * length / of).min(length.saturating_sub(1));
        from..((at + 1) * length / of).max(from + 1).min(length)
    };
    cells
        .map(|(column, row)| {
            let (x, y) = (span(column, columns, small.width), span(row, rows, small.height));
            [&small.luma, &small.cb, &small.cr].map(|plane| {
                let line = |y: usize| plane.get(y * small.width + x.start..y * small.width + x.end);
                let sum: u32 = y.clone().filter_map(line).flatten().map(|v| u32::from(*v)).sum();
                f64::from(sum) / (x.len() * y.len()).max(1) as f64
            })
        })
        .collect()
}
