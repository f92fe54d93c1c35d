// Decodes the test vectors and the golden messages, and prints what it found as JSON. read_vectors VECTORS GOLDEN_FILE...
// With --receive ENDPOINT: receives one frame of any stream while signals arrive.

#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>

#include <sys/time.h>

#include "streamseg.hpp"

namespace {

std::string read(const char* name) {
    std::ifstream file(name, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
}

streamseg::Json summary(const streamseg::Mask& mask) {
    std::int64_t area = 0, index_sum = 0;
    for (std::size_t index = 0; index < mask.pixels.size(); ++index)
        if (mask.pixels[index]) ++area, index_sum += static_cast<std::int64_t>(index) + 1;
    return {{"area", area}, {"index_sum", index_sum}};
}

std::vector<std::string> unpack(const std::string& data) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at < data.size();) {
        std::size_t length = 0;
        for (int byte = 0; byte < 4; ++byte) length = length << 8 | static_cast<unsigned char>(data[at++]);
        parts.push_back(data.substr(at, length));
        at += length;
    }
    return parts;
}

volatile std::sig_atomic_t signals = 0;

int receive(const char* endpoint) {
    struct sigaction action {};
    action.sa_handler = [](int) { signals = signals + 1; };
    sigaction(SIGALRM, &action, nullptr);
    const itimerval each{{0, 5000}, {0, 5000}};
    setitimer(ITIMER_REAL, &each, nullptr);
    streamseg::Subscriber subscriber(endpoint);
    while (signals < 10)
        if (subscriber.receive(std::chrono::milliseconds(100))) return 1;
    std::cout << "waiting" << std::endl;
    const auto message = subscriber.receive(std::chrono::milliseconds::max());
    if (!message) return 1;
    std::cout << message->stream << ' ' << message->frame() << ' ' << subscriber.malformed() << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3 && argv[1] == std::string("--receive")) return receive(argv[2]);
    streamseg::Json found = streamseg::Json::array();
    for (const auto& vector : streamseg::Json::parse(read(argv[1]))) {
        streamseg::Json result = streamseg::Json::object();
        try {
            result = summary(streamseg::decode_rle(vector.at("counts"), vector.at("width"), vector.at("height")));
        } catch (const streamseg::ProtocolError&) {
        }
        result["name"] = vector.at("name");
        found.push_back(result);
    }
    for (int index = 2; index < argc; ++index) {
        const auto message = streamseg::parse(unpack(read(argv[index])));
        streamseg::Json result = {{"stream", message.stream}, {"kind", message.kind}, {"objects", streamseg::Json::array()}};
        if (message.kind == "masks" || message.kind == "objects")
            for (const auto& one : message.objects()) {
                auto item = one.encoding == "coco_rle" ? summary(one.mask()) : streamseg::Json::object();
                item["id"] = one.id;
                item["label"] = one.label;
                result["objects"].push_back(item);
            }
        if (message.kind == "image") result["jpeg"] = message.jpeg().size();
        found.push_back(result);
    }
    std::cout << found << '\n';
}
