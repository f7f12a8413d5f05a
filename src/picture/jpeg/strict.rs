//! What libjpeg does about errors, stricter than its default: missing or corrupt picture data, which it
//! would replace by grey after a warning, ends the decoding, like any error. The only place with unsafe
//! code: libjpeg says which error it met by a field behind a pointer.

use std::ffi::c_int;
use std::panic::resume_unwind;

use mozjpeg_sys as ffi;

use crate::picture::{BadPicture, Format};

/// Errors leave libjpeg by unwinding (its C code is compiled for that: the feature `unwinding`) with a
/// [`BadPicture`], which must be caught outside. The panic hook does not run.
pub(super) fn errors() -> ffi::jpeg_error_mgr {
    // SAFETY: a C struct of function pointers (`None` when zero), pointers and numbers, for which all
    // zeros is valid; the function then fills in its defaults.
    let mut errors = unsafe {
        let mut errors = std::mem::zeroed();
        ffi::jpeg_std_error(&mut errors);
        errors
    };
    errors.error_exit = Some(error);
    errors.emit_message = Some(message);
    errors
}

extern "C-unwind" fn error(info: &mut ffi::jpeg_common_struct) {
    fail(info)
}

/// `level` is -1 for a warning, else the detail of a trace message.
extern "C-unwind" fn message(info: &mut ffi::jpeg_common_struct, level: c_int) {
    if level < 0 && CORRUPT.contains(&code(info)) {
        fail(info);
    }
}

/// Warnings after which libjpeg makes up the rest of the picture, or of a part of it.
const CORRUPT: [c_int; 4] = [
    ffi::JWRN_JPEG_EOF as c_int,
    ffi::JWRN_HIT_MARKER as c_int,
    ffi::JWRN_HUFF_BAD_CODE as c_int,
    ffi::JWRN_MUST_RESYNC as c_int,
];

/// The bytes end, or the data of a scan ends, before the picture does.
const SHORT: [c_int; 3] = [
    ffi::JWRN_JPEG_EOF as c_int,
    ffi::JWRN_HIT_MARKER as c_int,
    // What the source of the `mozjpeg` crate says when a header is longer than the file.
    ffi::JERR_FILE_READ as c_int,
];

fn code(info: &ffi::jpeg_common_struct) -> c_int {
    // SAFETY: libjpeg sets the pointer before it can call anything, to a struct that outlives the call.
    unsafe { info.err.as_ref() }.map_or(0, |errors| errors.msg_code)
}

#[cold]
fn fail(info: &mut ffi::jpeg_common_struct) -> ! {
    let bad = match SHORT.contains(&code(info)) {
        true => BadPicture::Truncated(Format::Jpeg),
        false => BadPicture::Broken(Format::Jpeg, text(info)),
    };
    resume_unwind(Box::new(bad))
}

/// libjpeg's own words.
fn text(info: &mut ffi::jpeg_common_struct) -> String {
    type Format = unsafe extern "C-unwind" fn(&mut ffi::jpeg_common_struct, &[u8; 80]);
    type Writing = unsafe extern "C-unwind" fn(&mut ffi::jpeg_common_struct, *mut u8);
    let mut buffer = [0u8; 200];
    // SAFETY: as in `code`; the function is libjpeg's own, and writes at most 200 bytes (JMSG_LENGTH_MAX)
    // with a final 0. The binding's type would let the compiler assume that it writes nothing.
    unsafe {
        if let Some(format) = info.err.as_ref().and_then(|errors| errors.format_message) {
            std::mem::transmute::<Format, Writing>(format)(info, buffer.as_mut_ptr());
        }
    }
    let text = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
