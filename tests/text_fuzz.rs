//! Problem lines, with the geometry and the plans that follow from them, and tuning tables, on mutations of texts that are well formed.
//! See `tests/fuzz`.

#[path = "fuzz/harness.rs"]
mod harness;
#[path = "fuzz/texts.rs"]
mod texts;

use harness::Random;

/// The lines of `tests/problems`.
fn lines() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder of the repository").map(|file| file.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a file of the repository"));
    let line = |line: &str| line.split('#').next().unwrap_or_default().trim().as_bytes().to_vec();
    texts.flat_map(|text| text.lines().map(line).collect::<Vec<_>>()).filter(|line| !line.is_empty()).collect()
}

/// Numbers that are hard on whoever counts, and words that are not expected everywhere.
const EXTREMES: [&[u8]; 18] = [
    b"0",
    b"1",
    b"2",
    b"65535",
    b"65536",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"nan",
    b"inf",
    b"1e39",
    b" g2",
    b" same_upper",
    b" p9x9",
];

fn word_source(corpus: &[Vec<u8>], random: &mut Random) -> String {
    String::from_utf8_lossy(random.pick::<Vec<u8>>(corpus)).into_owned()
}

/// Changes of words, which leave more lines well formed than changes of bytes do.
fn change_words(line: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let text = String::from_utf8_lossy(line).into_owned();
    let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
    for _ in 0..=random.below(3) {
        let at = random.below(words.len());
        match random.below(5) {
            0 => {
                let other = word_source(corpus, random);
                let others: Vec<&str> = other.split(' ').collect();
                words[at] = (*random.pick(&others)).into();
            }
            1 => drop(words.remove(at)),
            2 => {
                let other = word_source(corpus, random);
                words.insert(at, other.split(' ').next_back().unwrap_or_default().into());
            }
            _ => {
                // Another number in a word.
                let digits = words[at].find(|c: char| c.is_ascii_digit());
                if let Some(start) = digits {
                    let length = words[at][start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(words[at].len() - start);
                    let number = match random.below(4) {
                        0 => String::from_utf8_lossy(random.pick::<&[u8]>(&EXTREMES[..11])).into_owned(),
                        _ => random.below(8).to_string(),
                    };
                    words[at].replace_range(start..start + length, &number);
                }
            }
        }
        if words.is_empty() {
            break;
        }
    }
    *line = words.join(" ").into_bytes();
}

#[test]
fn mutations_of_problem_lines_are_layers_or_errors() {
    let corpus = lines();
    let make = |count: u64, random: &mut Random| {
        let mut line = random.pick(&corpus).clone();
        match count % 3 {
            0 => harness::mutate(&mut line, &corpus, &EXTREMES, random),
            _ => change_words(&mut line, &corpus, random),
        }
        line
    };
    let count = harness::run(3, make, texts::line);
    println!("{count} mutations of {} lines", corpus.len());
}

#[test]
fn small_layers_of_random_numbers_are_what_counting_gives() {
    let make = |_: u64, random: &mut Random| (0..40).map(|_| random.draw() as u8).collect();
    println!("{} layers", harness::run(6, make, texts::geometry));
}

#[test]
fn mutations_of_tuning_tables_are_tables_or_errors() {
    let lines = lines();
    let entries = |lines: &[Vec<u8>]| {
        let mut text = b"wgconv tuning 1\n[llvmpipe | Vulkan | driver 1 | wgconv | shaders 0 | limits 0]\n".to_vec();
        for (line, algorithm) in
            lines.iter().zip(["direct", "gemm(64x64x16,8x8)", "subgroup_gemm(16x32x4)", "pool"].iter().cycle())
        {
            text.extend([line, b" = ".as_slice(), algorithm.as_bytes(), b"\n"].concat());
        }
        text
    };
    let corpus: Vec<Vec<u8>> = lines.chunks(5).map(entries).collect();
    let extremes: [&[u8]; 8] = [b"\n", b" = ", b"[", b"]", b"#", b"\r\n", b"wgconv tuning 2", b"\xff\xfe"];
    let make = |_: u64, random: &mut Random| {
        let mut text = random.pick(&corpus).clone();
        harness::mutate(&mut text, &corpus, &extremes, random);
        text
    };
    let count = harness::run(6, make, texts::table);
    println!("{count} mutations of {} tables", corpus.len());
}

#[test]
fn a_layer_of_more_rows_than_a_plan_has_parts_is_planned_at_once() {
    let line = b"conv_transpose 1x4x12x30x20 o3 k65536x1x2 s5x3x2 p1x2x0 f32 bias";
    harness::within_seconds(line, texts::line);
}
