//! A kernel in the language of each platform, as wgpu would hand it to a driver. Whether that compiles it is not known here: what naga
//! cannot say in a language is.

use naga::back::{hlsl, msl, spv};
use naga::valid::ModuleInfo;

/// What cannot be said, with the language.
pub fn translate(module: &naga::Module, info: &ModuleInfo, cooperative: bool) -> Result<(), String> {
    let about = |language: &str, error: &dyn std::fmt::Display| Err(format!("{language}: {error}"));
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    if let Err(error) = spv::write_vec(module, info, &options, None) {
        return about("SPIR-V", &error);
    }
    // Subgroups came with 2.1, matrices with 2.3.
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    if let Err(error) = msl::write_string(module, info, &options, &msl::PipelineOptions::default()) {
        return about("Metal", &error);
    }
    // Matrices are not to be had by wgpu on DirectX.
    if !cooperative {
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
        if let Err(error) = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None) {
            return about("HLSL", &error);
        }
    }
    Ok(())
}
