// A few polygons that turn on orbits before stripes. Instance 0 is the background, the others are a polygon each.

struct Frame {
    turn: f32,   // of the orbits, in radians
    aspect: f32, // height / width
}

@group(0) @binding(0) var<uniform> frame: Frame;

struct Vertex {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
    @location(1) at: vec2<f32>,
    @location(2) striped: f32,
}

fn turned(angle: f32) -> vec2<f32> {
    return vec2<f32>(cos(angle), sin(angle));
}

@vertex
fn vertex(@builtin(vertex_index) number: u32, @builtin(instance_index) instance: u32) -> Vertex {
    if (instance == 0u) {
        // One triangle that covers the picture; its other vertices fall together.
        let corner = vec2<f32>(f32(min(number, 2u) & 1u), f32(min(number, 2u) >> 1u)) * 4.0 - 1.0;
        return Vertex(vec4<f32>(corner, 0.0, 1.0), vec3<f32>(0.12, 0.16, 0.26), corner, 1.0);
    }
    let index = f32(instance);
    let sides = 3u + instance % 4u;
    let side = min(number / 3u, sides - 1u);
    let corner = number % 3u;
    let angle = 6.2831853 * f32(side + corner / 2u) / f32(sides) + frame.turn * (0.5 + 0.25 * index);
    let centre = turned(frame.turn / index + 2.4 * index) * (0.2 + 0.07 * index);
    let local = select(vec2<f32>(0.0, 0.0), turned(angle) * (0.13 + 0.02 * index), corner > 0u);
    let position = (centre + local) * vec2<f32>(frame.aspect, 1.0);
    let colour = 0.55 + 0.45 * cos(vec3<f32>(0.0, 2.1, 4.2) + 1.3 * index);
    return Vertex(vec4<f32>(position, 0.0, 1.0), colour, local * 4.0, 0.0);
}

@fragment
fn fragment(vertex: Vertex) -> @location(0) vec4<f32> {
    // Half of each turn is a stripe, with edges of one pixel: samples, as polygons have, see no edges inside of a triangle.
    let turns = 3.0 * vertex.at.y + vertex.at.x + 0.1 * frame.turn;
    let inside = 0.25 - abs(fract(turns - 0.25) - 0.5);
    let stripe = clamp(inside / max(fwidth(turns), 1e-6) + 0.5, 0.0, 1.0) * vertex.striped;
    let shade = 1.0 - 0.35 * length(vertex.at) * (1.0 - vertex.striped);
    return vec4<f32>(vertex.colour * shade + 0.1 * stripe, 1.0);
}
