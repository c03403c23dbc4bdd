//! [`Table`]: which algorithm was fastest, for each device and problem, as text. Pure: no files here.
//!
//! ```text
//! wgconv tuning 1
//! [llvmpipe (LLVM 15.0.6, 256 bits) | Vulkan | llvmpipe Mesa 22.3.6 | wgconv 0.1.0 | kernels 0123.. | limits 4567..]
//! conv 1x64x56x56 o64 k3x3 p1x1 f32 bias relu = subgroup_gemm(32x4,8)
//! ```
//!
//! A section is a device with everything else that a choice depends on; sections are compared as text and those of others are kept as
//! they are. What is right of ` = ` is parsed only by whoever asks for it: here it may be anything.

use std::collections::BTreeMap;
use std::fmt;

/// The first line. Another number is another format.
const VERSION: &str = "wgconv tuning 1";

/// Algorithms by problem, both as text.
pub(super) type Section = BTreeMap<String, String>;

/// Sections by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    sections: BTreeMap<String, Section>,
}

/// A table, and what of its text could not be read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub table: Table,
    /// One text for each bad line.
    pub damage: Vec<String>,
}

impl Table {
    /// Reads a text; lines that are no entries are left out and listed.
    ///
    /// # Errors
    /// A message where it is no table of this version at all.
    pub fn parse(text: &str) -> Result<Parsed, String> {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        match lines.next() {
            None => return Ok(Parsed::default()),
            Some((_, VERSION)) => {}
            Some((_, first)) => {
                let first: String = first.chars().take(40).collect();
                return Err(format!("line 1 is {first:?}, but a tuning table begins with `{VERSION}`"));
            }
        }
        let mut parsed = Parsed::default();
        let mut section = None;
        for (number, line) in lines {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(device) = line.strip_prefix('[') {
                section = device.strip_suffix(']').map(|device| parsed.table.sections.entry(device.into()).or_default());
                if section.is_none() {
                    parsed.damage.push(format!("line {number} has no ] at its end"));
                }
                continue;
            }
            let entry = line.split_once(" = ").map(|(problem, algorithm)| (problem.trim(), algorithm.trim()));
            // No algorithm has a `=`, and no problem ends in one: such a line would not be read as it is printed.
            let entry = entry.filter(|(problem, algorithm)| !problem.ends_with('=') && !algorithm.contains('='));
            match (entry, &mut section) {
                (Some((problem, algorithm)), Some(section)) => {
                    section.insert(problem.into(), algorithm.into());
                }
                (Some(_), None) => parsed.damage.push(format!("line {number} belongs to no device")),
                (None, _) => parsed.damage.push(format!("line {number} is not `problem = algorithm`")),
            }
        }
        Ok(parsed)
    }

    /// The entries of a device.
    pub fn section(&self, device: &str) -> Option<&Section> {
        self.sections.get(device)
    }

    /// Adds entries of a device; they win over those that are there.
    pub fn merge(&mut self, device: &str, entries: &Section) {
        let section = self.sections.entry(device.into()).or_default();
        section.extend(entries.iter().map(|(problem, algorithm)| (problem.clone(), algorithm.clone())));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}\n# Which algorithm was fastest. Written by wgconv, which measures again what is deleted here.")?;
        for (device, section) in &self.sections {
            writeln!(f, "\n[{device}]")?;
            section.iter().try_for_each(|(problem, algorithm)| writeln!(f, "{problem} = {algorithm}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(entries: &[(&str, &str)]) -> Section {
        entries.iter().map(|(problem, algorithm)| (problem.to_string(), algorithm.to_string())).collect()
    }

    #[test]
    fn a_table_prints_and_parses_to_itself() {
        let mut table = Table::default();
        table.merge("a [GPU] | driver 1", &section(&[("conv 1x1x1 o1 k1 f32 residual=before", "direct")]));
        table.merge("another", &section(&[("max_pool 1x1x4 k2 f32 indices=plane", "pool"), ("b", "gemm(8x8x8,2x2)")]));
        let parsed = Table::parse(&table.to_string()).unwrap();
        assert_eq!((parsed.table, parsed.damage), (table, vec![]));
        assert_eq!(Table::parse("").unwrap().table, Table::default());
    }

    #[test]
    fn a_line_of_several_equals_signs_is_no_entry() {
        for line in ["max_pool 1x1x4 k2 = = pool", "a =  = b", "a =\t = b", "a = b = c"] {
            let parsed = Table::parse(&format!("{VERSION}\n[d]\n{line}\n")).unwrap();
            assert_eq!((parsed.table.section("d").map(Section::len), parsed.damage.len()), (Some(0), 1), "{line}");
        }
    }

    #[test]
    fn new_entries_win_and_the_others_stay() {
        let mut table = Table::parse("wgconv tuning 1\r\n[d]\r\na = direct\r\nb = direct\r\n[e]\r\na = pool\r\n").unwrap().table;
        table.merge("d", &section(&[("b", "matmul"), ("c", "gemm")]));
        assert_eq!(table.section("d").unwrap(), &section(&[("a", "direct"), ("b", "matmul"), ("c", "gemm")]));
        assert_eq!(table.section("e").unwrap(), &section(&[("a", "pool")]));
        assert_eq!(table.section("f"), None);
    }

    #[test]
    fn a_bad_line_costs_that_line_and_a_bad_version_the_table() {
        let parsed = Table::parse("wgconv tuning 1\nlost = direct\n[d]\na = direct\nnonsense\nb = gemm\n[e\nc = pool\n").unwrap();
        assert_eq!(parsed.table.section("d").unwrap(), &section(&[("a", "direct"), ("b", "gemm")]));
        assert_eq!(parsed.damage.len(), 4, "{:?}", parsed.damage);
        for text in ["wgconv tuning 2\n", "wgconv tuning 11\n", "wgconv tunin", "\u{0}\u{1}\u{2}", "\n[d]\na = direct\n"] {
            assert!(Table::parse(text).is_err_and(|message| message.contains("wgconv tuning 1")), "{text:?}");
        }
    }

    #[test]
    fn any_part_of_a_table_is_read_without_panic() {
        let mut table = Table::default();
        table.merge("dévice | 1", &section(&[("conv 1x1x1 o1 k1 f32", "direct"), ("x", "gemm(8x8x8,2x2)")]));
        let text = table.to_string();
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = Table::parse(&text[..end]);
        }
    }
}
