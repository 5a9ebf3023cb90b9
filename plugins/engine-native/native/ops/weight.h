// A frozen matrix [rows, columns] = [out, in], in the form in which it is kept, and how products read it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "../isa/isa.h"

namespace graft {

class Arena;
class Pool;

enum class Format : int { f32 = 0, bf16 = 1, f16 = 2, int8 = 3, nf4 = 4 };

// Numbers as a checkpoint stores them.
enum class Stored : int { f32 = 0, bf16 = 1, f16 = 2 };

// Memory of a weight, whoever owns it.
class Storage {
 public:
  virtual ~Storage() = default;
  virtual const void* data() const = 0;
  virtual size_t bytes() const = 0;
  // Told before it is read: a mapping lets go of the one that was read before.
  virtual void reading() const {}
};

class OwnedStorage : public Storage {
 public:
  explicit OwnedStorage(size_t bytes);
  ~OwnedStorage() override;
  const void* data() const override { return data_; }
  void* writable() { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
};

struct Weight {
  int64_t rows = 0;
  int64_t columns = 0;
  Format format = Format::f32;
  // Row-major, or where `packed` the panels of a product by the transpose: f32 [ceil(rows / nr)][columns][nr], bf16
  // [ceil(rows / nr)][ceil(columns / 2)][nr][2], both with rows beyond the last 0.
  bool packed = false;
  // Whether `pack` may be used: not for a mapping, nor for quantized formats.
  bool packable = true;
  std::unique_ptr<Storage> storage;
  // int8: the scale of each row [rows].
  std::unique_ptr<OwnedStorage> scales;
  // nf4: see isa/quant.h.
  std::unique_ptr<OwnedStorage> absmax;
  std::unique_ptr<OwnedStorage> absmaxScales;
  float absmaxOffset = 0;

  size_t bytes() const;
  // Whether products with it are computed in bf16 on this instruction set.
  bool computesBf16(const Isa& isa) const { return isa.gemm.bf16 && (format == Format::bf16 || format == Format::int8 || format == Format::nf4); }

  // Puts it into panels, once; a no-op where that was done or can't be.
  void pack(const Isa& isa, Pool& pool);

  // Elements [row, from .. from + count) as float32.
  void read(const Isa& isa, int64_t row, int64_t from, int64_t count, float* out) const;
  // The same rounded to bf16: of int8 and nf4 alone.
  void readBf16(const Isa& isa, int64_t row, int64_t from, int64_t count, uint16_t* out) const;

  // Bytes of scratch that the two below may need for a panel of k.
  static size_t scratchBytes(const Isa& isa, int64_t k);
  // A panel of W^T [columns, rows]: its columns n0 .. n0 + n (n <= nr, n0 a multiple of nr), over its rows k0 .. k0 + k (k0 even).
  // bf16 where computesBf16. Points into `scratch` or into the weight.
  const void* acrossPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const;
  // A panel of W [rows, columns]: its columns n0 .. n0 + n, over its rows k0 .. k0 + k (k0 a multiple of nr).
  const void* downPanel(const Isa& isa, int64_t n0, int n, int64_t k0, int64_t k, void* scratch) const;
};

// From a checkpoint's numbers [rows, columns], row-major, in memory that is taken over.
std::unique_ptr<Weight> makeWeight(const Isa& isa, Pool& pool, std::unique_ptr<Storage> source, Stored stored, Format format, int64_t rows, int64_t columns);

// Numbers of a checkpoint widened to float32.
void widenStored(const Isa& isa, const void* from, Stored stored, int64_t offset, int64_t count, float* out);

}  // namespace graft
