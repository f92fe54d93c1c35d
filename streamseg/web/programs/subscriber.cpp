// Receive the masks of a stream. See clients/cpp/README.md.
// g++ -std=c++17 -O2 -I clients/cpp subscriber.cpp -lzmq
//
// The daemon asks for a key. On its machine run
//     streamseg keys authorize NAME
// and copy the file that it writes, NAME.key_secret, beside this program.
#include <chrono>
#include <iostream>
#include "streamseg.hpp"

int main() {
    const auto keys = streamseg::Keys::load("NAME.key_secret");
    streamseg::Subscriber subscriber("tcp://127.0.0.1:5555", {"cam"}, {"masks"}, keys);
    while (auto message = subscriber.receive(std::chrono::seconds(30)))
        for (const auto& object : message->objects())
            std::cout << message->frame() << ' ' << object.id << ' ' << object.label << ' ' << object.area << std::endl;
    const std::string problem = subscriber.problem();
    std::cerr << "no masks for 30 s" << (problem.empty() ? "" : ": " + problem) << '\n';
}
