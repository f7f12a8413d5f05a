//! Cuts black bars (letterbox, pillarbox) away, which are no part of the picture.

use crate::picture::Small;

/// A row or column of a bar: no brighter than this on average, and hardly a pixel brighter than that.
const BAR_MEAN: u32 = 22;
const BAR_PIXEL: u8 = 48;
/// Bars take at most this part of each side; more is a dark picture.
const MOST_ROWS: f64 = 0.36;
const MOST_COLUMNS: f64 = 0.38;
/// Bars lie on both sides and are equally wide, within this part of the length. A picture that is dark at
/// one side is left as it is.
const UNEVEN: f64 = 0.04;

/// The picture without its bars: three planes, row by row.
pub(super) struct Area {
    pub width: usize,
    pub height: usize,
    pub luma: Vec<u8>,
    pub cb: Vec<u8>,
    pub cr: Vec<u8>,
}

impl Area {
    pub fn row<'a>(&self, plane: &'a [u8], y: usize) -> &'a [u8] {
        &plane[y * self.width..(y + 1) * self.width]
    }
}

pub(super) fn cut(small: &Small) -> Area {
    let (width, height) = (small.width, small.height);
    let is_bar = |pixels: &mut dyn Iterator<Item = u8>, length: usize| {
        let (mut sum, mut bright) = (0u32, 0usize);
        for value in pixels {
            sum += u32::from(value);
            bright += usize::from(value >= BAR_PIXEL);
        }
        sum < BAR_MEAN * length as u32 && bright * 100 <= length
    };
    let row = |y: usize| is_bar(&mut small.luma[y * width..(y + 1) * width].iter().copied(), width);
    let column =
        |x: usize| is_bar(&mut small.luma.iter().skip(x).step_by(width.max(1)).copied(), height);
    let (top, bottom) = bars(height, MOST_ROWS, row);
    let (left, right) = bars(width, MOST_COLUMNS, column);
    let plane = |plane: &[u8]| {
        let mut kept = Vec::with_capacity(plane.len());
        let rows = plane.chunks_exact(width.max(1)).skip(top).take(height - top - bottom);
        rows.for_each(|row| kept.extend_from_slice(&row[left..width - right]));
        kept
    };
    Area {
        width: width - left - right,
        height: height - top - bottom,
        luma: plane(&small.luma),
        cb: plane(&small.cb),
        cr: plane(&small.cr),
    }
}

/// How many rows (or columns) to cut at the beginning and at the end.
fn bars(length: usize, most: f64, is_bar: impl Fn(usize) -> bool) -> (usize, usize) {
    let most = (length as f64 * most) as usize;
    let before = (0..most).take_while(|at| is_bar(*at)).count();
    let after = (0..most).take_while(|at| is_bar(length - 1 - at)).count();
    // Scaling blurs the bar's edge: one more.
    match before > 0 && after > 0 && before.abs_diff(after) as f64 <= UNEVEN * length as f64 {
        true => (before + 1, after + 1),
        false => (0, 0),
    }
}
