//! Arrays of four neighbours, and the functions by which a text reads and writes them.
//!
//! A text never indexes such an array: it calls `NAME_4(at)` for the four with this number, `NAME_1(index)` for an element, and
//! `put_NAME_4(at, four)` to write one. So it is decided in one place what the array is made of. Where a driver loads and stores each
//! element by itself, words of 64 bits are half as many.

use super::Binding;

/// The elements of an array of fours.
fn element(ty: &'static str) -> Option<&'static str> {
    ty.strip_prefix("array<vec4<")?.strip_suffix(">>")
}

/// The type that an array is declared with.
pub(super) fn declared(ty: &'static str, wide: bool) -> &'static str {
    match element(ty) {
        Some("f16") if wide => "array<u64>",
        Some(_) if wide => "array<vec2<u64>>",
        _ => ty,
    }
}

/// The functions of an array of fours; of another there are none.
pub(super) fn functions(binding: &Binding, wide: bool) -> Option<String> {
    let (name, ty) = (binding.name, element(binding.ty)?);
    // The statements of each: of a four that is read, of an element, of a four that is written.
    let [four, one, put] = match (wide, ty) {
        (false, _) => {
            [format!("return {name}[at];"), format!("return {name}[index / 4][index % 4];"), format!("{name}[at] = four;")]
        }
        (true, "f16") => [
            format!(
                "let word = {name}[at];\n    \
                 return vec4<f16>(vec4<f32>(unpack2x16float(u32(word)), unpack2x16float(u32(word >> 32u))));"
            ),
            format!("return f16(unpack2x16float(u32({name}[index / 4] >> (index % 4 * 16))).x);"),
            format!(
                "let x = vec4<f32>(four);\n    \
                 {name}[at] = u64(pack2x16float(x.xy)) | (u64(pack2x16float(x.zw)) << 32u);"
            ),
        ],
        (true, _) => [
            format!(
                "let words = {name}[at];\n    \
                 return bitcast<vec4<{ty}>>(vec4<u32>(u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));"
            ),
            format!("return bitcast<{ty}>(u32({name}[index / 4][index / 2 % 2] >> (index % 2 * 32)));"),
            format!(
                "let x = bitcast<vec4<u32>>(four);\n    \
                 {name}[at] = vec2<u64>(u64(x.x) | (u64(x.y) << 32u), u64(x.z) | (u64(x.w) << 32u));"
            ),
        ],
    };
    Some(match binding.written {
        true => format!("fn put_{name}_4(at: u32, four: vec4<{ty}>) {{\n    {put}\n}}"),
        false => {
            format!("fn {name}_4(at: u32) -> vec4<{ty}> {{\n    {four}\n}}\n\nfn {name}_1(index: u32) -> {ty} {{\n    {one}\n}}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Slot;

    #[test]
    fn arrays_of_fours_have_functions_and_others_have_none() {
        let of = |ty: &'static str, written: bool, wide: bool| {
            let binding = Binding { name: "x", ty, slot: Slot::Input, written, image: None };
            (declared(ty, wide), functions(&binding, wide))
        };
        for wide in [false, true] {
            assert_eq!(of("array<f32>", false, wide), ("array<f32>", None));
            assert_eq!(of("texture_2d<f32>", false, wide), ("texture_2d<f32>", None));
            let (_, read) = of("array<vec4<f32>>", false, wide);
            let (_, written) = of("array<vec4<f16>>", true, wide);
            assert!(
                read.is_some_and(
                    |text| text.contains("fn x_4(at: u32) -> vec4<f32>") && text.contains("fn x_1(index: u32) -> f32")
                )
            );
            assert!(written.is_some_and(|text| text.starts_with("fn put_x_4(at: u32, four: vec4<f16>)")));
        }
        let types = ["f32", "i32", "u32", "f16"];
        let arrays = ["array<vec4<f32>>", "array<vec4<i32>>", "array<vec4<u32>>", "array<vec4<f16>>"];
        for (element, array) in types.into_iter().zip(arrays) {
            // As many bytes as the four have.
            let words = if element == "f16" { "array<u64>" } else { "array<vec2<u64>>" };
            assert_eq!([declared(array, false), declared(array, true)], [array, words]);
        }
    }
}
