// Receive the masks of a stream. See clients/cpp/README.md.
// g++ -std=c++17 -O2 -I clients/cpp subscriber.cpp -lzmq
#include <chrono>
#include <iostream>
#include "streamseg.hpp"

int main() {
    streamseg::Subscriber subscriber("tcp://127.0.0.1:5555", {"cam"});
    while (auto message = subscriber.receive(std::chrono::seconds(30)))
        for (const auto& object : message->objects())
            std::cout << message->frame() << ' ' << object.id << ' ' << object.label << ' ' << object.area << '\n';
}
