// Writes the masks of one frame as a 16 bit PGM picture: each pixel's object id, 0 for background.
//
//     g++ -std=c++17 -O2 write_pgm.cpp -o write_pgm -lzmq
//     ./write_pgm masks.pgm [ENDPOINT] [STREAM] [KEY_FILE]

#include <fstream>
#include <iostream>

#include "streamseg.hpp"

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "write_pgm FILE [ENDPOINT] [STREAM] [KEY_FILE]\n";
        return 2;
    }
    const std::string endpoint = argc > 2 ? argv[2] : "tcp://127.0.0.1:5555";
    const std::set<std::string> streams = argc > 3 ? std::set<std::string>{argv[3]} : std::set<std::string>{};
    try {
        std::optional<streamseg::Keys> keys;
        if (argc > 4) keys = streamseg::Keys::load(argv[4]);
        streamseg::Subscriber subscriber(endpoint, streams, {"masks"}, keys);
        while (const auto message = subscriber.receive(std::chrono::seconds(30))) {
            const auto objects = message->objects();
            const bool visible = std::any_of(objects.begin(), objects.end(), [](const auto& one) { return one.visible(); });
            if (!visible) continue;
            std::ofstream file(argv[1], std::ios::binary);
            const auto [width, height] = message->size();
            file << "P5\n" << width << ' ' << height << "\n65535\n";
            for (const std::int64_t id : message->label_map()) file.put(static_cast<char>(id >> 8)).put(static_cast<char>(id));
            if (!file.flush()) {
                std::cerr << "cannot write " << argv[1] << '\n';
                return 1;
            }
            std::cout << message->stream << " frame " << message->frame() << " in " << argv[1] << '\n';
            for (const auto& one : objects) std::cout << one.id << ' ' << one.label << ' ' << one.state << ' ' << one.area << '\n';
            return 0;
        }
        const std::string problem = subscriber.problem();
        std::cerr << "no masks from " << endpoint << " within 30 s: "
                  << (problem.empty() ? "is streamseg running, and is anything marked?" : problem) << '\n';
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
    }
    return 1;
}
