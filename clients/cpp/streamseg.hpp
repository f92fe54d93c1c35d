// Receives the masks of a streamseg daemon. C++17, one header; needs cppzmq and nlohmann-json, links with -lzmq.
//
//     streamseg::Subscriber subscriber("tcp://127.0.0.1:5555");
//     while (auto message = subscriber.receive(std::chrono::seconds(30)))
//         for (const auto& object : message->objects())
//             std::cout << message->stream << ' ' << message->frame() << ' ' << object.id << ' ' << object.area << std::endl;
//
// docs/protocol.md is the contract. A subscriber reconnects by itself and belongs to one thread.

#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <zmq.hpp>

namespace streamseg {

using Json = nlohmann::json;

/// Largest frame in pixels.
inline constexpr std::int64_t max_pixels = std::int64_t{1} << 26;

/// Bytes from the daemon are not what the protocol says.
struct ProtocolError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The daemon asks for a key, or refused the one it was given: not authorized, revoked or expired.
struct RefusedError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The keys of a client, each 40 characters.
struct Keys {
    std::string public_key, secret_key, server_key;

    /// Read a file that `streamseg keys` wrote. `server_key` is needed if the file does not have it.
    static Keys load(const std::string& path, const std::string& server_key = {}) {
        std::ifstream file(path);
        Keys keys{{}, {}, server_key};
        for (std::string line; std::getline(file, line);) {
            const auto first = line.find('"'), last = line.rfind('"');
            if (first == std::string::npos || last == first || line.find_first_not_of(" \t") == 0) continue;
            const std::string value = line.substr(first + 1, last - first - 1);
            if (line.find("public-key =") != std::string::npos) keys.public_key = value;
            if (line.find("secret-key =") != std::string::npos) keys.secret_key = value;
            if (line.find("server-key =") != std::string::npos && server_key.empty()) keys.server_key = value;
        }
        for (const auto& key : {keys.public_key, keys.secret_key, keys.server_key})
            if (key.size() != 40) throw std::invalid_argument(path + ": public-key, secret-key or server-key is missing");
        return keys;
    }
};

/// A mask, row by row, one byte for each pixel: 0 or 1.
struct Mask {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> pixels;
};

/// Decode the compressed counts of a COCO run length encoding (encoding `coco_rle`).
///
/// Throws ProtocolError if the runs do not fill the mask exactly. Checks before it writes, so any bytes are harmless.
inline Mask decode_rle(const std::string& counts, int width, int height) {
    if (width < 1 || height < 1 || std::int64_t{width} * height > max_pixels)
        throw ProtocolError("a mask cannot be " + std::to_string(width) + "x" + std::to_string(height) + " pixels");
    const std::int64_t area = std::int64_t{width} * height;
    Mask mask{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(area))};
    std::int64_t at = 0, number = 0, last = 0, before_last = 0, runs = 0;
    int shift = 0;
    for (const char character : counts) {
        const int group = static_cast<unsigned char>(character) - 48;
        if (group < 0 || group > 63 || shift > 30) throw ProtocolError("coco_rle: not a COCO counts string");
        number |= std::int64_t{group & 31} << shift;
        shift += 5;
        if (group & 32) continue;
        if (group & 16) number -= std::int64_t{1} << shift;
        if (runs > 2) number += before_last;
        if (number < 0 || number > area - at) throw ProtocolError("coco_rle: the runs exceed the mask");
        if (runs % 2 == 1) {
            std::int64_t column = at / height, row = at % height;
            for (std::int64_t left = number; left > 0; --left) {
                mask.pixels[static_cast<std::size_t>(row * width + column)] = 1;
                if (++row == height) row = 0, ++column;
            }
        }
        at += number;
        ++runs;
        before_last = last;
        last = number;
        number = 0;
        shift = 0;
    }
    if (at != area || shift != 0) throw ProtocolError("coco_rle: the runs do not fill the mask");
    return mask;
}

/// One object of a frame. Boxes are x, y, width, height in pixels.
struct Object {
    std::int64_t id = 0;
    std::string label;
    std::string state;  ///< tracked, uncertain, occluded, lost; newer daemons may have others
    double score = 0;
    double presence = 0;
    std::optional<double> confidence;
    std::array<int, 4> bbox{};
    std::int64_t area = 0;
    std::array<double, 2> centroid{};
    std::array<int, 4> roi{};
    std::array<int, 2> size{};  ///< width and height of the frame
    std::string encoding;       ///< of `data`; "none" without a mask
    std::string data;

    bool visible() const { return encoding != "none"; }

    /// The mask inside `roi`; everything outside is background. Empty if the object is not visible.
    Mask crop() const {
        if (!visible()) return {};
        if (encoding != "coco_rle") throw ProtocolError("mask encoding '" + encoding + "' is unknown to this client");
        return decode_rle(data, roi[2], roi[3]);
    }

    /// The mask of the whole frame.
    Mask mask() const {
        Mask whole{size[0], size[1], std::vector<std::uint8_t>(static_cast<std::size_t>(size[0]) * size[1])};
        const Mask part = crop();
        for (int row = 0; row < part.height; ++row)
            for (int column = 0; column < part.width; ++column)
                whole.pixels[static_cast<std::size_t>(roi[1] + row) * size[0] + roi[0] + column] =
                    part.pixels[static_cast<std::size_t>(row) * part.width + column];
        return whole;
    }
};

/// A received message. `header` has all of its fields; accessors read the usual ones and throw ProtocolError.
struct Message {
    std::string stream;
    std::string kind;  ///< masks, objects, image, events, status
    Json header;
    std::vector<std::string> parts;  ///< the message parts behind the header
    std::int64_t gap = 0;            ///< messages lost on the way since the last one
    std::int64_t skipped = 0;        ///< frames since the last one that the daemon sent none for

    template <typename T>
    T field(const char* name) const {
        try {
            return header.at(name).get<T>();
        } catch (const Json::exception& error) {
            throw ProtocolError(kind + " of " + stream + ": " + error.what());
        }
    }

    std::int64_t frame() const { return field<std::int64_t>("frame"); }
    std::int64_t seq() const { return field<std::int64_t>("seq"); }
    std::array<int, 2> size() const {
        const auto found = field<std::array<int, 2>>("size");
        if (found[0] < 1 || found[1] < 1 || std::int64_t{found[0]} * found[1] > max_pixels)
            throw ProtocolError("a frame cannot have this size");
        return found;
    }
    /// Capture time in nanoseconds since the Unix epoch.
    std::int64_t t_wall_ns() const {
        try {
            return std::stoll(field<std::string>("t_wall_ns"));
        } catch (const std::logic_error&) {
            throw ProtocolError("t_wall_ns is not a number of nanoseconds");
        }
    }
    /// The picture of an `image` message.
    const std::string& jpeg() const {
        if (parts.empty()) throw ProtocolError("an image without a picture");
        return parts.front();
    }

    /// The objects of a `masks` or `objects` message, oldest first.
    std::vector<Object> objects() const {
        std::vector<Object> found;
        std::set<std::int64_t> used;  // each part once, so that the copies are no larger than the message
        try {
            for (const Json& item : header.at("objects")) found.push_back(object(item, used));
        } catch (const Json::exception& error) {
            throw ProtocolError(kind + " of " + stream + ": " + error.what());
        }
        return found;
    }

    /// Each pixel's object id, row by row, 0 for background. Of overlapping masks the smallest wins, then the younger.
    std::vector<std::int64_t> label_map() const {
        auto sorted = objects();
        std::stable_sort(sorted.begin(), sorted.end(), [](const Object& a, const Object& b) { return a.area > b.area; });
        const auto [width, height] = size();
        std::vector<std::int64_t> labels(static_cast<std::size_t>(width) * height);
        for (const Object& one : sorted) {
            const Mask part = one.crop();
            for (int row = 0; row < part.height; ++row)
                for (int column = 0; column < part.width; ++column)
                    if (part.pixels[static_cast<std::size_t>(row) * part.width + column])
                        labels[static_cast<std::size_t>(one.roi[1] + row) * width + one.roi[0] + column] = one.id;
        }
        return labels;
    }

private:
    Object object(const Json& item, std::set<std::int64_t>& used) const {
        Object one;
        item.at("id").get_to(one.id);
        item.at("label").get_to(one.label);
        item.at("state").get_to(one.state);
        item.at("score").get_to(one.score);
        item.at("presence").get_to(one.presence);
        if (item.contains("confidence") && !item["confidence"].is_null()) one.confidence = item["confidence"].get<double>();
        item.at("bbox").get_to(one.bbox);
        item.at("area").get_to(one.area);
        item.at("centroid").get_to(one.centroid);
        one.size = size();
        one.encoding = "none";
        if (item.value("part", Json()).is_null()) return one;
        item.at("encoding").get_to(one.encoding);
        item.at("roi").get_to(one.roi);
        const auto part = item.at("part").get<std::int64_t>() - 2;  // the topic is part 0, the header part 1
        if (part < 0 || part >= static_cast<std::int64_t>(parts.size())) throw ProtocolError("a mask's part is missing");
        if (!used.insert(part).second) throw ProtocolError("a mask's part belongs to two objects");
        if (one.encoding == "none") throw ProtocolError("a mask without an encoding");
        const auto [x, y, width, height] = one.roi;
        if (x < 0 || y < 0 || width < 1 || height < 1 || width > one.size[0] - x || height > one.size[1] - y)
            throw ProtocolError("a roi is not inside the frame");
        one.data = parts[static_cast<std::size_t>(part)];
        return one;
    }
};

/// Whether a name can be the id of a stream.
inline bool is_stream(const std::string& name) {
    return !name.empty() && name.size() <= 64 && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
}

/// Turn the parts of a multipart message into a Message. Throws ProtocolError.
inline Message parse(const std::vector<std::string>& parts) {
    if (parts.size() < 2) throw ProtocolError("a message has a topic and a header");
    const std::string& topic = parts[0];
    const auto slash = topic.find('/', 3);
    if (topic.rfind("v1/", 0) != 0 || slash == std::string::npos || topic.back() != '/' || slash + 1 >= topic.size())
        throw ProtocolError("not a topic of protocol v1");
    Message message;
    message.stream = topic.substr(3, slash - 3);
    if (!is_stream(message.stream)) throw ProtocolError("not a topic of protocol v1");
    message.kind = topic.substr(slash + 1, topic.size() - slash - 2);
    message.header = Json::parse(parts[1], nullptr, false);
    if (!message.header.is_object()) throw ProtocolError("the header is not a JSON object");
    message.parts.assign(parts.begin() + 2, parts.end());
    return message;
}

/// Why a socket could not connect. The events are read by a thread, since libzmq stops when nobody reads them.
class Handshakes {
public:
    /// Call it before the socket connects. `keyed`: whether the socket has keys.
    Handshakes(zmq::context_t& context, zmq::socket_t& socket, bool keyed)
        : keyed_(keyed), socket_(socket), events_(context, ZMQ_PAIR), sent_(context, ZMQ_PAIR), refusals_(context, ZMQ_PAIR) {
        sent_.bind("inproc://refusals");
        refusals_.connect("inproc://refusals");
        constexpr int others = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_CLOSED |
                               ZMQ_EVENT_MONITOR_STOPPED;
        if (zmq_socket_monitor(socket_.handle(), "inproc://handshakes", refused_ | others) != 0) throw zmq::error_t();
        events_.connect("inproc://handshakes");
        thread_ = zmq_threadstart([](void* self) { static_cast<Handshakes*>(self)->read(); }, this);
    }

    ~Handshakes() {
        zmq_socket_monitor(socket_.handle(), nullptr, 0);
        zmq_threadclose(thread_);
    }
    Handshakes(const Handshakes&) = delete;
    Handshakes& operator=(const Handshakes&) = delete;

    /// Readable when the daemon has refused the connection.
    void* refusals() { return refusals_.handle(); }

    /// Throw if the daemon refused the connection; libzmq does not try again then.
    void check() {
        zmq::message_t told;
        if (refusals_.recv(told, zmq::recv_flags::dontwait)) throw RefusedError(problem());
    }

    std::string problem() const {
        switch (last_) {
            case 0: return "";
            case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: return "the daemon refused the key: not authorized, revoked or expired";
            case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: return keyed_ ? "the daemon asks for no key" : "the daemon asks for a key";
            // A daemon that asks for a key often closes before its greeting is read.
            default: return std::string("the daemon closes connections during the handshake: perhaps it ") +
                            (keyed_ ? "asks for no key, or has another server key" : "asks for a key");
        }
    }

private:
    static constexpr int refused_ = ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;

    void read() noexcept {
        while (true) {
            zmq_msg_t part;
            zmq_msg_init(&part);
            const bool read = zmq_msg_recv(&part, events_.handle(), 0) >= 0;
            std::uint16_t event = 0;
            if (read && zmq_msg_size(&part) >= sizeof event) std::memcpy(&event, zmq_msg_data(&part), sizeof event);
            const bool first = zmq_msg_more(&part);  // the second part is the address
            zmq_msg_close(&part);
            if (!read && errno != EINTR) return;
            if (!read || !first) continue;
            if (event == ZMQ_EVENT_MONITOR_STOPPED) return;
            if (event == ZMQ_EVENT_CLOSED && (last_ & refused_)) continue;  // check() still needs the reason
            last_ = event & (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_CLOSED) ? 0 : event;  // closed: nobody accepted it
            if (event & refused_) zmq_send(sent_.handle(), "", 0, ZMQ_DONTWAIT);
        }
    }

    const bool keyed_;
    zmq::socket_t& socket_;
    zmq::socket_t events_, sent_, refusals_;
    std::atomic<int> last_{0};
    void* thread_;
};

/// Receives the newest message of each stream and kind, and every event.
class Subscriber {
public:
    /// Connects in the background, and again whenever the daemon comes back.
    ///
    /// Without `streams`: all streams, and those that are added later. `kinds`: any of masks, objects, image, events,
    /// status. `keys`: for daemons that ask for a key. Throws zmq::error_t if the endpoint or a key is invalid.
    explicit Subscriber(const std::string& endpoint = "tcp://127.0.0.1:5555", std::set<std::string> streams = {},
                        std::set<std::string> kinds = {"masks"}, const std::optional<Keys>& keys = {})
        : streams_(std::move(streams)), kinds_(std::move(kinds)), all_(streams_.empty()),
          socket_(context_, ZMQ_SUB), handshakes_(context_, socket_, keys.has_value()) {
        if (keys) {
            socket_.set(zmq::sockopt::curve_publickey, keys->public_key);
            socket_.set(zmq::sockopt::curve_secretkey, keys->secret_key);
            socket_.set(zmq::sockopt::curve_serverkey, keys->server_key);
        }
        socket_.set(zmq::sockopt::rcvhwm, 64);
        socket_.set(zmq::sockopt::linger, 0);
        socket_.set(zmq::sockopt::maxmsgsize, std::int64_t{64} * 1024 * 1024);
        socket_.set(zmq::sockopt::tcp_keepalive, 1);
        socket_.set(zmq::sockopt::reconnect_ivl, 100);
        socket_.set(zmq::sockopt::reconnect_ivl_max, 2000);
        socket_.set(zmq::sockopt::subscribe, discovery_);
        for (const auto& stream : streams_) subscribe(stream);
        if (all_) subscribe("_daemon");
        socket_.connect(endpoint);
    }

    Subscriber(const Subscriber&) = delete;
    Subscriber& operator=(const Subscriber&) = delete;

    /// Wait for the next message; nothing if none arrives in time. Survives restarts of the daemon. Throws RefusedError.
    ///
    /// A signal does not end it: to look at a flag that a handler sets, wait for less time.
    std::optional<Message> receive(std::chrono::milliseconds timeout) {
        const auto deadline = std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(timeout, longest_);
        while (true) {
            drain();
            if (!events_.empty()) return pop(events_);
            if (!order_.empty()) {
                const std::string topic = order_.front();
                order_.erase(order_.begin());
                auto node = newest_.extract(topic);
                return std::move(node.mapped());
            }
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            handshakes_.check();
            if (left.count() <= 0) return std::nullopt;
            wait(std::min<std::chrono::milliseconds>(left, one_wait_));
        }
    }

    /// Why the last connection failed; empty if it did not.
    std::string problem() const { return handshakes_.problem(); }

    /// Messages that were skipped because they violate the protocol.
    std::int64_t malformed() const { return malformed_; }

private:
    struct Position {
        std::string session, publisher;
        std::int64_t seq = 0, frame = -1;
    };
    static constexpr std::size_t max_events_ = 1000;
    static constexpr std::size_t max_topics_ = 5 * 1024;
    static constexpr int max_drained_ = 1000;
    static constexpr std::chrono::hours longest_{24 * 365};
    static constexpr std::chrono::minutes one_wait_{10};
    const std::string discovery_ = "v1/_daemon/status/";

    void subscribe(const std::string& stream) {
        for (const auto& kind : kinds_) {
            if (stream == "_daemon" && kind != "events" && kind != "status") continue;
            const std::string topic = "v1/" + stream + "/" + kind + "/";
            if (topics_.size() < max_topics_ && topics_.insert(topic).second && topic != discovery_)
                socket_.set(zmq::sockopt::subscribe, topic);
        }
    }

    void drain() {
        for (int count = 0; count < max_drained_; ++count) {
            try {
                std::vector<std::string> parts;
                if (!receive_parts(parts)) return;
                take(parts);
            } catch (const zmq::error_t&) {
                throw;
            } catch (const std::exception&) {  // also a message that is too large for the memory
                ++malformed_;
            }
        }
    }

    void wait(std::chrono::milliseconds time) {
        zmq::pollitem_t items[] = {{socket_.handle(), 0, ZMQ_POLLIN, 0}, {handshakes_.refusals(), 0, ZMQ_POLLIN, 0}};
        try {
            zmq::poll(items, 2, time);
        } catch (const zmq::error_t& error) {
            if (error.num() != EINTR) throw;
        }
    }

    /// Take the parts of the next message; false if there is none.
    bool receive_parts(std::vector<std::string>& parts) {
        zmq::message_t part;
        do {
            if (!receive_part(part)) return false;
            parts.push_back(part.to_string());
        } while (part.more());
        return true;
    }

    bool receive_part(zmq::message_t& part) {
        while (true) {
            try {
                return socket_.recv(part, zmq::recv_flags::dontwait).has_value();
            } catch (const zmq::error_t& error) {
                if (error.num() != EINTR) throw;
            }
        }
    }

    void take(const std::vector<std::string>& parts) {
        const std::string topic = parts.at(0);
        const bool wanted = topics_.count(topic) > 0;
        if (!wanted && topic != discovery_) return;  // a longer topic that begins with one of ours
        Message message = parse(parts);
        if (topic == discovery_ && all_)
            for (const Json& stream : message.header.value("streams", Json::array()))
                if (stream.is_string() && is_stream(stream.get<std::string>())) subscribe(stream.get<std::string>());
        if (!wanted || !follow(topic, message)) return;
        if (message.kind == "events") {
            events_.push_back(std::move(message));
            if (events_.size() > max_events_) events_.erase(events_.begin());
        } else if (auto known = newest_.find(topic); known != newest_.end()) {
            message.gap += known->second.gap;
            message.skipped += known->second.skipped;
            known->second = std::move(message);
        } else {
            newest_.emplace(topic, std::move(message));
            order_.push_back(topic);
        }
    }

    /// Count what is missing before a message; false if it is not newer than the last one.
    bool follow(const std::string& topic, Message& message) {
        Position now{message.field<std::string>("session"), message.field<std::string>("publisher"), message.seq(), -1};
        const bool of_frame = message.kind != "events" && message.kind != "status";
        if (of_frame) now.frame = message.frame();
        if (const auto known = last_.find(topic); known != last_.end() && known->second.session == now.session) {
            const Position& last = known->second;
            if (last.publisher == now.publisher) {
                if (now.seq <= last.seq) return false;
                message.gap = now.seq - last.seq - 1;
            }
            if (of_frame) message.skipped = std::max<std::int64_t>(0, now.frame - last.frame - 1 - message.gap);
        }
        last_[topic] = std::move(now);
        return true;
    }

    static Message pop(std::vector<Message>& messages) {
        Message first = std::move(messages.front());
        messages.erase(messages.begin());
        return first;
    }

    std::set<std::string> streams_, kinds_, topics_;
    bool all_;
    zmq::context_t context_;
    zmq::socket_t socket_;
    Handshakes handshakes_;
    std::vector<Message> events_;
    std::map<std::string, Message> newest_;
    std::vector<std::string> order_;
    std::map<std::string, Position> last_;
    std::int64_t malformed_ = 0;
};

}  // namespace streamseg
