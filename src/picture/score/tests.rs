use super::*;
use crate::picture::{Facts, Format, Small};

const SIZE: (usize, usize) = (320, 180);

/// A drawn picture: luma from 0 to 255 and chroma by position, from 0.0 to 1.0.
fn drawn(size: (usize, usize), pixel: impl Fn(f64, f64) -> [f64; 3]) -> Small {
    let (width, height) = size;
    let at = |index: usize| {
        let (x, y) = (index % width, index / width);
        pixel(x as f64 / width as f64, y as f64 / height as f64)
    };
    let plane = |plane: usize| (0..width * height).map(|index| at(index)[plane] as u8).collect();
    Small {
        facts: Facts {
            format: Format::Jpeg,
            bytes: 20_000,
            width: width as u32,
            height: height as u32,
        },
        width,
        height,
        luma: plane(0),
        cb: plane(1),
        cr: plane(2),
    }
}

/// A made-up scene with an object, texture and colours; `shot` moves the object, `seed` is the place.
fn scene(seed: f64, shot: f64) -> impl Fn(f64, f64) -> [f64; 3] {
    move |x, y| {
        let waves = (x * (9.0 + seed) + seed).sin() * (y * (7.0 + 2.0 * seed) + seed).cos();
        let texture = ((x * 211.0 + seed).sin() * (y * 173.0).cos() * 43758.5).fract() * 16.0;
        let object = (x - 0.3 - 0.1 * shot).hypot(y - 0.5) < 0.2;
        let luma = 110.0 + 55.0 * waves + texture + if object { 60.0 } else { -20.0 };
        [luma.clamp(0.0, 255.0), 128.0 + 30.0 * waves, 128.0 - 25.0 * (x * 5.0 + seed).sin()]
    }
}

fn film(pictures: &[Small]) -> Vec<Score> {
    let looks: Vec<Look> = pictures.iter().map(look).collect();
    rank(&looks)
}

/// Eight good pictures with `odd` among them, as the fourth.
fn among_good_ones(odd: Small) -> Vec<Score> {
    let good = |at: usize| drawn(SIZE, scene(1.0 + (at / 3) as f64, at as f64 / 3.0));
    let mut pictures: Vec<Small> = (0..8).map(good).collect();
    pictures.insert(3, odd);
    film(&pictures)
}

fn bar(x: f64) -> [f64; 3] {
    let bars = [
        [180., 128., 128.],
        [162., 44., 142.],
        [131., 156., 44.],
        [112., 72., 58.],
        [84., 184., 198.],
        [65., 100., 212.],
        [35., 212., 114.],
    ];
    bars[(x * 7.0) as usize % 7]
}

/// Rows of dark writing on an even ground.
fn writing(x: f64, y: f64) -> [f64; 3] {
    let (column, row) = ((x * 107.0) as i64, (y * 30.0) as i64);
    let written = row % 3 == 0 && (0.2..0.8).contains(&x) && (column * 7 + row * 3) % 5 < 2;
    [if written { 235.0 } else { 16.0 }, 128.0, 128.0]
}

fn defect_of(pixel: impl Fn(f64, f64) -> [f64; 3]) -> Vec<Defect> {
    among_good_ones(drawn(SIZE, pixel))[3].defects.clone()
}

#[test]
fn what_is_no_picture_has_a_defect_and_pictures_have_none() {
    let usual = scene(1.0, 1.0);
    assert_eq!(defect_of(|_, _| [3.0, 128.0, 128.0]), [Defect::Black]);
    assert_eq!(defect_of(|_, _| [253.0, 128.0, 128.0]), [Defect::White]);
    assert_eq!(defect_of(|_, _| [120.0, 160.0, 90.0]), [Defect::Blank]);
    assert_eq!(defect_of(|x, _| bar(x)), [Defect::Bars]);
    assert_eq!(defect_of(|x, y| usual(x, y).map(|value| value * 0.18 + 2.0)), [Defect::TooDark]);
    assert!([Defect::Card, Defect::Credits].contains(&defect_of(writing)[0]));
    for score in &among_good_ones(drawn(SIZE, scene(1.0, 0.7))) {
        assert_eq!(score.defects, []);
    }
}

#[test]
fn whatever_has_a_defect_scores_below_every_good_picture() {
    for odd in
        [drawn(SIZE, |_, _| [3.0, 128.0, 128.0]), drawn(SIZE, |x, _| bar(x)), drawn(SIZE, writing)]
    {
        let scores = among_good_ones(odd);
        let others = scores.iter().enumerate().filter(|(at, _)| *at != 3);
        assert!(others.map(|(_, score)| score.score).all(|score| score > scores[3].score));
    }
}

#[test]
fn a_paler_take_of_a_scene_scores_below_its_look_alike() {
    let usual = scene(2.0, 0.5);
    let pale = drawn(SIZE, |x, y| {
        let [luma, cb, cr] = usual(x, y);
        [170.0 + luma * 0.3, 90.0 + cb * 0.3, 90.0 + cr * 0.3]
    });
    let scores = film(&[
        drawn(SIZE, scene(4.0, 0.0)),
        drawn(SIZE, scene(2.0, 0.4)),
        pale,
        drawn(SIZE, scene(2.0, 0.6)),
        drawn(SIZE, scene(5.0, 0.0)),
    ]);
    assert!(scores[2].score < scores[1].score && scores[2].score < scores[3].score);
}

#[test]
fn a_mix_of_its_neighbours_is_a_transition() {
    let (one, other) = (scene(1.0, 0.0), scene(5.0, 1.0));
    let mix = drawn(SIZE, |x, y| {
        let (a, b) = (one(x, y), other(x, y));
        [0, 1, 2].map(|plane| (a[plane] + b[plane]) / 2.0)
    });
    let scores = film(&[
        drawn(SIZE, &one),
        drawn(SIZE, scene(1.0, 0.1)),
        mix,
        drawn(SIZE, &other),
        drawn(SIZE, scene(5.0, 0.9)),
    ]);
    assert_eq!(scores[2].defects, [Defect::Transition]);
    assert_eq!(scores[1].defects, []);
    assert_eq!(scores[3].defects, []);
}

#[test]
fn black_bars_are_not_counted_as_picture() {
    let barred =
        |pixel: &dyn Fn(f64, f64) -> [f64; 3], y: f64, x: f64| match (0.15..0.85).contains(&y) {
            true => pixel(x, (y - 0.15) / 0.7),
            false => [2.0, 128.0, 128.0],
        };
    let with: Vec<Small> =
        (0..6).map(|at| drawn(SIZE, |x, y| barred(&scene(f64::from(at), 0.5), y, x))).collect();
    for score in film(&with) {
        assert_eq!(score.defects, []);
    }
    let look = look(&with[0]);
    assert!((0.6..0.72).contains(&look.area), "{}", look.area);
    assert!(look.mean > 60.0);
}

/// A night film: everything is dark, and that is what it is.
#[test]
fn dark_pictures_of_a_dark_film_are_no_defect() {
    let night = |at: i32| {
        let usual = scene(f64::from(at / 2), f64::from(at) / 8.0);
        drawn(SIZE, move |x, y| {
            let [luma, cb, cr] = usual(x, y);
            [luma * 0.35, cb, cr]
        })
    };
    for score in film(&(0..8).map(night).collect::<Vec<_>>()) {
        assert_eq!(score.defects, []);
    }
}

#[test]
fn any_size_and_any_number_of_pictures_is_judged() {
    assert_eq!(film(&[]), []);
    for (width, height) in
        [(1, 1), (1, 300), (320, 1), (31, 33), (32, 32), (33, 47), (320, 35), (40, 320)]
    {
        for count in 1..4 {
            let pictures: Vec<Small> =
                (0..count).map(|at| drawn((width, height), scene(f64::from(at), 0.0))).collect();
            for score in film(&pictures) {
                assert!(score.score.is_finite() && (0.0..=100.0).contains(&score.score));
                assert!(score.features.iter().all(|(_, value)| (0.0..=1.0).contains(value)));
                assert_eq!(score.defects == [Defect::Tiny], width < 32 || height < 32);
            }
        }
    }
}

#[test]
fn the_same_pictures_get_the_same_scores() {
    let pictures: Vec<Small> = (0..6).map(|at| drawn(SIZE, scene(f64::from(at), 0.2))).collect();
    assert_eq!(film(&pictures), film(&pictures));
}
