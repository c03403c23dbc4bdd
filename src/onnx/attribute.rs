//! [`Attributes`]: the attributes of a node by name and type, which remember what was read: what is left over is not understood.

use super::proto::Attribute;

/// The types of attributes, by the numbers in `AttributeProto.AttributeType`.
const TYPES: [&str; 15] = [
    "undefined",
    "float",
    "int",
    "string",
    "tensor",
    "graph",
    "floats",
    "ints",
    "strings",
    "tensors",
    "graphs",
    "sparse tensor",
    "sparse tensors",
    "type",
    "types",
];

pub(super) const FLOAT: usize = 1;
pub(super) const INT: usize = 2;
pub(super) const STRING: usize = 3;
pub(super) const TENSOR: usize = 4;
pub(super) const GRAPH: usize = 5;
pub(super) const FLOATS: usize = 6;
pub(super) const INTS: usize = 7;
pub(super) const GRAPHS: usize = 10;

/// The attributes of one node.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    list: &'a [Attribute],
    read: Vec<bool>,
}

impl<'a> Attributes<'a> {
    pub fn new(list: &'a [Attribute]) -> Self {
        Self { list, read: vec![false; list.len()] }
    }

    /// The attribute of this name, which must have this type.
    ///
    /// # Errors
    /// A text where it has another.
    pub fn take(&mut self, name: &str, kind: usize) -> Result<Option<&'a Attribute>, String> {
        let Some(at) = self.list.iter().position(|attribute| attribute.name == name) else { return Ok(None) };
        self.read[at] = true;
        let attribute = &self.list[at];
        let got = kind_of(attribute);
        // A list without elements looks like nothing in files that give no types.
        if got == kind || (got == 0 && matches!(kind, INTS | FLOATS)) {
            return Ok(Some(attribute));
        }
        let type_name = |kind: usize| TYPES.get(kind).copied().unwrap_or("unknown");
        Err(format!("attribute {name} is of type {}, but {} is needed", type_name(got), type_name(kind)))
    }

    /// Whether there is an attribute of this name.
    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|attribute| attribute.name == name)
    }

    /// The first name that occurs twice.
    pub fn duplicate(&self) -> Option<&'a str> {
        let names = || self.list.iter().map(|attribute| attribute.name.as_str());
        let mut sorted: Vec<&str> = names().collect();
        sorted.sort_unstable();
        sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Whether a subgraph is among them.
    pub fn has_graph(&self) -> bool {
        self.list.iter().any(|attribute| matches!(kind_of(attribute), GRAPH | GRAPHS))
    }

    /// The names of those that nobody asked for, with their values.
    pub fn left(&self) -> Vec<String> {
        let left = self.list.iter().zip(&self.read).filter(|(_, read)| !**read);
        left.map(|(attribute, _)| format!("{} = {}", attribute.name, text(attribute))).collect()
    }
}

/// The type that an attribute says it has, or else seems to have: the oldest files do not say.
fn kind_of(attribute: &Attribute) -> usize {
    match usize::try_from(attribute.kind) {
        Ok(0) => {}
        Ok(kind) => return kind,
        Err(_) => return usize::MAX,
    }
    let present = [
        (FLOAT, attribute.f.is_some()),
        (INT, attribute.i.is_some()),
        (STRING, attribute.s.is_some()),
        (TENSOR, attribute.t.is_some()),
        (GRAPH, attribute.g.is_some()),
        (FLOATS, !attribute.floats.is_empty()),
        (INTS, !attribute.ints.is_empty()),
        (GRAPHS, !attribute.graphs.is_empty()),
    ];
    present.iter().find(|(_, present)| *present).map_or(0, |(kind, _)| *kind)
}

/// The value for a message, shortened.
fn text(attribute: &Attribute) -> String {
    let kind = kind_of(attribute);
    let list = |text: String, count: usize| if count > 8 { format!("{text} ..") } else { text };
    match kind {
        FLOAT => attribute.f.unwrap_or_default().to_string(),
        INT => attribute.i.unwrap_or_default().to_string(),
        STRING => quoted(attribute.s.as_deref().unwrap_or_default()),
        FLOATS => list(format!("{:?}", &attribute.floats[..attribute.floats.len().min(8)]), attribute.floats.len()),
        INTS => list(format!("{:?}", &attribute.ints[..attribute.ints.len().min(8)]), attribute.ints.len()),
        kind => format!("a {}", TYPES.get(kind).copied().unwrap_or("value of an unknown type")),
    }
}

/// Bytes as a text for a message, shortened.
pub(super) fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
}
