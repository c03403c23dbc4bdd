// each() copies one element of runs that lie at equal distances. Expects Elem, number().
// p: (elements, elements of a run, first source, source step from run to run), (first target, target step, ..).

fn each(index: i32) {
    let run = p[0].y;
    let row = quotient(index, run);
    let at = index - row * run;
    output[p[1].x + row * p[1].y + at] = number(input[p[0].z + row * p[0].w + at], row, at);
}
