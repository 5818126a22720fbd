# cmake -DINPUT=file -DOUTPUT=file.cpp -DNAME=symbol -P embed.cmake: the file's bytes as a C++ array.
file(READ ${INPUT} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUTPUT} "#include \"data/embedded.hpp\"\n
namespace enmesh::data {\n
alignas(64) static const unsigned char ${NAME}_bytes[${size}] = {${bytes}};\n
std::string_view ${NAME}() { return {reinterpret_cast<const char*>(${NAME}_bytes), ${size}}; }\n
}  // namespace enmesh::data\n")
