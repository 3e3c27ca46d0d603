// Python's door to the kernels. Arrays come as they lie in memory; nothing is copied.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "convolve.h"
#include "mirrored.h"
#include "relax_pair.h"
#include "wires.h"

namespace nb = nanobind;
using namespace madem;

template <typename T>
using In = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;
template <typename T>
using Out = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Line = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static std::string best() {
#if defined(MADEM_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "baseline";
}

// The instruction set to use: `asked`, or the best where that is empty.
static std::string chosen(const std::string &asked) {
    if (asked.empty()) return best();
    const std::string known[] = {"baseline", "avx2", "avx512"};
    for (const std::string &name : known) {
        if (name == asked) return asked;
        if (name == best()) break;
    }
    throw std::invalid_argument("instructions: this processor has no '" + asked + "'; its best is " +
                                best());
}

// A kernel's version for the instruction set `isa`, while Python does other things.
#if defined(MADEM_X86)
#define MADEM_RUN(kernel, ...)                                 \
    const std::string use = chosen(isa);                       \
    nb::gil_scoped_release release;                            \
    if (use == "avx512") return avx512::kernel(__VA_ARGS__);   \
    if (use == "avx2") return avx2::kernel(__VA_ARGS__);       \
    return baseline::kernel(__VA_ARGS__)
#else
#define MADEM_RUN(kernel, ...)        \
    chosen(isa);                      \
    nb::gil_scoped_release release;   \
    return baseline::kernel(__VA_ARGS__)
#endif

template <typename T>
static Rows<T> rows(const In<T> &of, int64_t samples, int64_t units, const char *name) {
    const bool shared = of.shape(0) == 1;
    if ((!shared && int64_t(of.shape(0)) != samples) || int64_t(of.shape(1)) != units ||
        (units > 1 && of.stride(1) != 1))
        throw std::invalid_argument(std::string(name) + " does not fit the states");
    return {of.data(), shared ? 0 : of.stride(0)};
}

template <typename T>
using Layer = std::tuple<In<T>, In<T>, In<T>, In<T>>;  // drive, ease, low, high

template <typename T>
static void relax_pair(Out<const T> weight, Layer<T> lower, Layer<T> upper, In<T> nudge,
                const std::vector<T> &stiffness,
                std::optional<Out<const T>> at, std::optional<Out<const T>> at_up, bool warm,
                Out<T> s, Out<T> y, Line<int32_t> sweeps, Line<T> residual, double tolerance,
                int budget, const std::string &isa) {
    Pair<T> p;
    const int64_t all = s.shape(0);
    p.nudges = stiffness.size(), p.lower = s.shape(1), p.upper = y.shape(1);
    if (!p.nudges || all % p.nudges)
        throw std::invalid_argument("rows of states must be a multiple of the nudges");
    p.samples = all / p.nudges;
    if (p.upper < 1 || p.upper > most_upper)
        throw std::invalid_argument("the upper layer must have 1 to 16 units");
    const bool fits = int64_t(weight.shape(0)) == p.upper && int64_t(weight.shape(1)) == p.lower &&
                      int64_t(y.shape(0)) == all && int64_t(sweeps.shape(0)) == all &&
                      int64_t(residual.shape(0)) == all && bool(at) == bool(at_up) &&
                      (!at || (int64_t(at->size()) == p.samples * p.lower &&
                               int64_t(at_up->size()) == p.samples * p.upper));
    if (!fits) throw std::invalid_argument("weight, states and records do not fit one another");
    p.weight = weight.data();
    p.drive = rows<T>(std::get<0>(lower), p.samples, p.lower, "drive");
    p.ease = rows<T>(std::get<1>(lower), 1, p.lower, "ease");
    p.low = rows<T>(std::get<2>(lower), p.samples, p.lower, "low");
    p.high = rows<T>(std::get<3>(lower), p.samples, p.lower, "high");
    p.drive_up = rows<T>(std::get<0>(upper), p.samples, p.upper, "upper drive");
    p.ease_up = rows<T>(std::get<1>(upper), 1, p.upper, "upper ease");
    p.low_up = rows<T>(std::get<2>(upper), p.samples, p.upper, "upper low");
    p.high_up = rows<T>(std::get<3>(upper), p.samples, p.upper, "upper high");
    p.nudge = rows<T>(nudge, all, p.upper, "nudge");
    p.stiffness = stiffness.data();
    p.at = at ? at->data() : nullptr, p.at_up = at_up ? at_up->data() : nullptr;
    p.warm = warm;
    p.s = s.data(), p.y = y.data(), p.sweeps = sweeps.data(), p.residual = residual.data();
    MADEM_RUN(relax_pair<T>, p, T(tolerance), budget);
}

template <typename T>
using Block = nb::ndarray<const T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Into = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <typename T>
using Wires = std::tuple<T, T, T, T>;  // conductances: word, bit, drive, sense

template <typename T>
static void read_wires(Block<T> g, Block<T> v, std::optional<Into<const T>> sources, Wires<double> wires,
                 Into<T> currents, std::optional<Into<T>> drawn,
                 std::optional<Into<T>> word_nodes, std::optional<Into<T>> bit_nodes,
                 std::optional<Into<T>> across, Into<int32_t> iterations, Into<T> residual, double tolerance,
                 double steepest, int budget, const std::string &isa) {
    Crossbars<T> c;
    c.chips = g.shape(0), c.rows = g.shape(1), c.columns = g.shape(2), c.samples = v.shape(1);
    const int64_t reads = c.chips * c.samples, nodes = reads * c.rows * c.columns;
    const auto holds = [](const auto &array, int64_t size) { return int64_t(array.size()) == size; };
    if (int64_t(v.shape(0)) != c.chips || int64_t(v.shape(2)) != c.rows || !c.rows || !c.columns ||
        !holds(currents, reads * c.columns) || (drawn && !holds(*drawn, reads * c.rows)) ||
        (sources && !holds(*sources, nodes)) || (across && !holds(*across, nodes)) ||
        !holds(iterations, reads) || !holds(residual, reads) || bool(word_nodes) != bool(bit_nodes) ||
        (word_nodes && (!holds(*word_nodes, nodes) || !holds(*bit_nodes, nodes))))
        throw std::invalid_argument("conductances, voltages and results do not fit one another");
    c.g = g.data(), c.v = v.data(), c.sources = sources ? sources->data() : nullptr;
    c.across = across ? across->data() : nullptr;
    c.word = T(std::get<0>(wires)), c.bit = T(std::get<1>(wires));
    c.drive = T(std::get<2>(wires)), c.sense = T(std::get<3>(wires));
    c.currents = currents.data(), c.drawn = drawn ? drawn->data() : nullptr;
    c.word_nodes = word_nodes ? word_nodes->data() : nullptr;
    c.bit_nodes = bit_nodes ? bit_nodes->data() : nullptr;
    c.iterations = iterations.data(), c.residual = residual.data();
    MADEM_RUN(read_wires<T>, c, T(tolerance), T(steepest), budget);
}

// x: samples x pre; g and contrast: post x 2 pre; drive, change and middle: samples x post.
template <typename T, typename Units, typename Lines>
static Mirror<T> mirror(const Out<const T> &x, const Units &units, const Lines &g, double gain) {
    const Mirror<T> p{int64_t(x.shape(0)), int64_t(g.shape(0)), int64_t(x.shape(1)), x.data(),
                      T(gain)};
    if (int64_t(g.shape(1)) != 2 * p.pre || int64_t(units.shape(0)) != p.samples ||
        int64_t(units.shape(1)) != p.post)
        throw std::invalid_argument("conductances, inputs and nodes do not fit one another");
    return p;
}

template <typename T>
static void read_mirrored(Out<const T> g, Out<const T> x, double gain, Out<T> drive, Line<T> load,
                      const std::string &isa) {
    const Mirror<T> p = mirror<T>(x, drive, g, gain);
    if (int64_t(load.shape(0)) != p.post)
        throw std::invalid_argument("loads do not fit the conductances");
    MADEM_RUN(read_mirrored<T>, p, g.data(), drive.data(), load.data());
}

template <typename T>
static void contrast_mirrored(Out<const T> change, Out<const T> middle, Out<const T> x, double gain,
                          Out<T> contrast, const std::string &isa) {
    const Mirror<T> p = mirror<T>(x, change, contrast, gain);
    if (middle.size() != change.size())
        throw std::invalid_argument("changes and means do not fit one another");
    const T *moved = change.data(), *seen = middle.data();
    MADEM_RUN(contrast_mirrored<T>, p, moved, seen, contrast.data());
}

template <typename T>
using Pixels = nb::ndarray<T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

template <typename T>
using Some = std::optional<Pixels<const T>>;

template <typename T, typename A, typename B>
static bool alike(const A &a, const B &b) {
    for (int i = 0; i < 4; ++i)
        if (a.shape(i) != b.shape(i)) return false;
    return true;
}

// Images x, and z which they are convolved to. Where either is pooled, each of its pixels stands for a
// square of `from`, or `to`, pixels a side; else these are 1.
template <typename T, typename Result>
static Images<T> images(const Pixels<const T> &x, const Result &z, int from, int to, int padding) {
    constexpr int64_t panel = panel_bytes / sizeof(T);
    Images<T> p{};
    p.count = x.shape(0), p.rows = from * x.shape(1), p.columns = from * x.shape(2);
    p.rows_out = to * z.shape(1), p.columns_out = to * z.shape(2);
    p.in = x.shape(3), p.out = z.shape(3), p.padding = padding;
    if (p.in % panel || p.out % panel || int64_t(z.shape(0)) != p.count ||
        p.rows_out != p.rows + 2 * padding - 2 || p.columns_out != p.columns + 2 * padding - 2)
        throw std::invalid_argument("images and convolution do not fit one another");
    p.x = x.data();
    return p;
}

// x: images x rows x columns x channels; kernel: planes x panels x channels x panel. With `corner`
// x is pooled, with `corner_out` z; with `corner_at` x is a displacement from `at`.
template <typename T>
static void convolve(Pixels<const T> x, Some<T> corner, Some<T> at, Some<T> corner_at,
                 Pixels<const T> kernel, Pixels<T> z, std::optional<Pixels<T>> corner_out,
                 Some<T> offset, int padding, const std::string &isa) {
    constexpr int64_t panel = panel_bytes / sizeof(T);
    Images<T> p = images<T>(x, z, corner ? 2 : 1, corner_out ? 2 : 1, padding);
    if (kernel.shape(0) != planes || int64_t(kernel.shape(1)) * panel != p.out ||
        int64_t(kernel.shape(2)) != p.in || int64_t(kernel.shape(3)) != panel)
        throw std::invalid_argument("images and kernel do not fit one another");
    for (const Some<T> *each : {&corner, &at, &corner_at})
        if (*each && (!corner || !alike<T>(**each, x)))
            throw std::invalid_argument("corners do not fit the images");
    if (bool(at) != bool(corner_at) || (corner_out && !alike<T>(*corner_out, z)) ||
        (offset && (!corner_out || int64_t(offset->shape(0)) != p.count ||
                    int64_t(offset->shape(1)) != p.rows_out ||
                    int64_t(offset->shape(2)) != p.columns_out ||
                    int64_t(offset->shape(3)) != p.out)))
        throw std::invalid_argument("corners do not fit the convolution");
    p.kernel = kernel.data(), p.z = z.data();
    p.corner = corner ? corner->data() : nullptr, p.at = at ? at->data() : nullptr;
    p.corner_at = corner_at ? corner_at->data() : nullptr;
    p.corner_out = corner_out ? corner_out->data() : nullptr;
    p.offset = offset ? offset->data() : nullptr;
    MADEM_RUN(convolve<T>, p);
}

// A kernel (out x in x 3 x 3) in the form of `convolve`, or that of the way back.
template <typename T>
static void pack(Pixels<const T> kernel, Pixels<T> packed, bool turned, const std::string &isa) {
    constexpr int64_t panel = panel_bytes / sizeof(T);
    const int64_t out = kernel.shape(0), in = kernel.shape(1);
    if (kernel.shape(2) != 3 || kernel.shape(3) != 3 || packed.shape(0) != planes ||
        int64_t(packed.shape(1)) * panel != (turned ? in : out) ||
        int64_t(packed.shape(2)) != (turned ? out : in) || int64_t(packed.shape(3)) != panel)
        throw std::invalid_argument("kernel and its packed form do not fit one another");
    MADEM_RUN(pack<T>, kernel.data(), out, in, turned, packed.data());
}

// The derivative by a kernel (out x in x 3 x 3) from images x and the derivative y by what they
// became, both channels last.
template <typename T>
static void weigh(Pixels<const T> x, Pixels<const T> y, Pixels<T> kernel, int padding,
                  const std::string &isa) {
    const Images<T> p = images<T>(x, y, 1, 1, padding);
    if (int64_t(kernel.shape(0)) != p.out || int64_t(kernel.shape(1)) != p.in ||
        kernel.shape(2) != 3 || kernel.shape(3) != 3)
        throw std::invalid_argument("images and kernel do not fit one another");
    MADEM_RUN(weigh<T>, p, y.data(), kernel.data());
}

// What lies on pooled pixels back on the one of size x size pixels that `corner` counts by rows.
template <typename T>
static void scatter(Pixels<const T> post, Pixels<const T> corner, Pixels<T> z, int size) {
    const int64_t count = post.shape(0), channels = post.shape(3);
    const int64_t rows = post.shape(1), columns = post.shape(2);
    const int64_t height = z.shape(1), width = z.shape(2);
    if (!alike<T>(corner, post) || int64_t(z.shape(0)) != count ||
        int64_t(z.shape(3)) != channels || height / size != rows || width / size != columns)
        throw std::invalid_argument("images and corners do not fit one another");
    const T *__restrict from = post.data(), *__restrict which = corner.data();
    T *to = z.data();
    nb::gil_scoped_release release;
    if (height % size || width % size) std::fill(to, to + z.size(), T(0));
    for (int64_t cell = 0; cell < count * rows; ++cell) {
        T *line = to + (cell / rows * height + cell % rows * size) * width * channels;
        for (int64_t j = 0; j < columns; ++j, from += channels, which += channels)
            for (int k = 0; k < size * size; ++k) {
                T *__restrict pixel = line + ((k / size) * width + j * size + k % size) * channels;
                for (int64_t c = 0; c < channels; ++c) {
                    const T value = from[c];  // read in any case: so the loop is one of vectors
                    pixel[c] = which[c] == T(k) ? value : T(0);
                }
            }
    }
}

template <typename T>
static void offer(nb::module_ &m) {
    // arrays are never converted: results would go into a copy, and be lost
    const auto number = nb::arg();
    const auto array = nb::arg().noconvert();
    const auto maybe = nb::arg().none().noconvert();
    m.def("convolve", &convolve<T>, array, maybe, maybe, maybe, array, array, maybe, maybe, number,
          number);
    m.def("pack", &pack<T>, array, array, number, number);
    m.def("weigh", &weigh<T>, array, array, array, number, number);
    m.def("scatter", &scatter<T>, array, array, array, number);
    m.def("read_mirrored", &read_mirrored<T>, array, array, number, array, array, number);
    m.def("contrast_mirrored", &contrast_mirrored<T>, array, array, array, number, array, number);
    m.def("relax_pair", &relax_pair<T>, array, array, array, array, number, maybe, maybe, number,
          array, array, array, array, number, number, number);
    m.def("read_wires", &read_wires<T>, array, array, maybe, number, array, maybe, maybe, maybe,
          maybe, array, array, number, number, number, number);
}

NB_MODULE(_native, m) {
    m.doc() = "Kernels. Each has a reference in PyTorch, against which it is tested.";
    m.def("best", &best, "The best instruction set here: baseline, avx2 or avx512.");
    m.attr("most_upper") = most_upper;
    offer<float>(m);
    offer<double>(m);
}
