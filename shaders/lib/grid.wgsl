// The index of a workgroup in a one-dimensional grid that the host folded over three dimensions,
// because a device takes 65,535 workgroups on each. The last rows may run past the grid's end: callers return there.

fn workgroup_index(id: vec3<u32>, count: vec3<u32>) -> i32 {
    return i32(id.x + count.x * (id.y + count.y * id.z));
}
