//! Networks as people build them, by the graph API, with random weights: what the library must run beyond single layers. They are small
//! in what costs time (pixels, widths), and whole in what can go wrong: the operations, and how they follow each other.

mod audio;
mod builder;
mod pictures;
mod tokens;
mod video;

use wgconv::{Graph, Value};

/// A network and inputs to run it on.
pub type Sample = (Graph, Vec<Value>);

/// A name, and what builds the network.
pub type Entry = (&'static str, fn() -> Sample);

/// All of them.
pub fn all() -> Vec<Entry> {
    vec![
        ("mobilenet_v2", pictures::mobilenet_v2),
        ("deeplab_v3_head", pictures::deeplab_v3_head),
        ("convnext", pictures::convnext),
        ("vision_transformer", tokens::vision_transformer),
        ("text_cnn", tokens::text_cnn),
        ("c3d", video::c3d),
        ("wav2vec", audio::wav2vec),
    ]
}
